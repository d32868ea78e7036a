package keys

import (
	"cmp"
	"errors"
	"slices"
	"strings"

	"github.com/kasbah-authz/kasbah/keys/internal/outbound"
	"github.com/kasbah-authz/kasbah/policy"
	configv1 "github.com/kasbah-authz/kasbah/proto/kasbah/config/v1"
)

// Files are what the providers' messages only name: files, secrets, expressions. What a configuration does not use may be nil.
type Files struct {
	// Read returns what stands in a file.
	Read func(path string) ([]byte, error)
	// Resolve returns the name by which an operator knows such a file; nil: the path.
	Resolve func(path string) string
	// APIKeys returns what stands in a file of API keys, and what finds the place of a fault in one of its fields; nil where
	// there are no such files.
	APIKeys func(path string) (keys *configv1.ApiKeyFile, finding func(err error) error, err error)
	// KeyTable returns the table of API keys that a store names in a database; nil where no database is read.
	KeyTable func(*configv1.ApiKeyStore) (Table, error)
	// Secret returns a text that does not stand in the configuration. Its errors do not quote it.
	Secret func(*configv1.Secret) (string, error)
	// Condition compiles an expression that is true or false of a principal.
	Condition func(source string) (func(*policy.Principal) (bool, error), error)
	// Replay knows which proofs of possession were used; nil: the Store's memory alone.
	Replay *Replay
	// Claim compiles an expression of a principal; present is false where it has no value.
	Claim func(source string) (func(*policy.Principal) (value any, present bool, err error), error)
}

// Provider is one compiled provider: who vouches, and what its credentials must be. It is immutable, and
// safe for use by many goroutines at once.
type Provider struct {
	name    string
	from    locations         // where its credentials come
	forward bool              // the upstream may see them
	proofs  locations         // where proofs of possession come, which go the same way
	reach   outbound.Settings // how its servers are reached

	possession *possession // of tokens; nil for other credentials

	jwt           *jwtProvider // one of these is not nil
	apiKeys       *apiKeys
	introspection *introspection
	certificates  *certificates
	basic         *basic
	signatures    *signatures
}

// sources returns where the provider's key sets come from.
func (p *Provider) sources() []keySource {
	switch {
	case p.jwt != nil:
		return p.jwt.sources
	case p.introspection != nil:
		return p.introspection.server.keys()
	}
	return nil
}

// Name returns the name that the configuration gives to the provider.
func (p *Provider) Name() string { return p.name }

// Provider compiles one provider. Files are read now; a remote key set of the same source as one that the Store has is that
// one, with its keys. Errors are [*policy.FieldError], their fields relative to the message, or about a file
// of its own, what files.APIKeys makes of one or a [*policy.Finding].
func (s *Store) Provider(cfg *configv1.Provider, files Files) (*Provider, error) {
	p := &Provider{name: cfg.GetName(), forward: cfg.GetForward()}
	proof := cmp.Or(cfg.GetJwt().GetProof(), cfg.GetIntrospection().GetProof())
	otherwise := bearerLocations
	if proof.GetDpop() != nil {
		otherwise, p.proofs = proofLocations, locations{{name: headerDPoP}}
	}
	if key := cfg.GetApiKey(); key != nil && !strings.EqualFold(key.GetHeader(), authorization) {
		otherwise = locations{{name: strings.ToLower(key.GetHeader())}}
	}
	var err error
	if p.from, err = readLocations(cfg.GetFrom(), otherwise); err != nil {
		return nil, err
	}
	if p.proofs != nil && !slices.ContainsFunc(p.from, func(l location) bool { return l.scheme == schemeDPoP }) {
		return nil, &policy.FieldError{Field: "from", Err: errors.New("a token with a proof stands behind the scheme DPoP; name that place, too")}
	}
	if p.reach, err = reachOf(cfg.GetClient(), files); err != nil {
		return nil, err
	}
	switch kind := cfg.GetKind().(type) {
	case *configv1.Provider_Jwt:
		if p.jwt, err = s.jwtProvider(cfg, p.reach, files); err == nil {
			p.possession, err = s.possession("jwt", proof, p.jwt.leeway, files)
		}
	case *configv1.Provider_ApiKey:
		p.apiKeys, err = s.apiKeyProvider(cfg.GetName(), kind.ApiKey, files)
	case *configv1.Provider_Introspection:
		if p.introspection, err = s.introspectionProvider(cfg, p.reach, files); err == nil {
			p.possession, err = s.possession("introspection", proof, p.introspection.leeway, files)
		}
	case *configv1.Provider_Basic:
		p.from = basicLocations
		p.basic, err = s.basicProvider(cfg, files)
	case *configv1.Provider_HttpSignature:
		p.from = signatureLocations
		p.signatures, err = s.signatureProvider(cfg, files)
	case *configv1.Provider_ClientCertificate:
		if len(cfg.GetFrom()) > 0 {
			return nil, &policy.FieldError{Field: "from", Err: errors.New("a client certificate is in no such place")}
		}
		p.from = nil
		if p.certificates, err = s.certificateProvider(cfg, files); err == nil && p.certificates.hops != nil {
			p.from = locations{{name: forwardedHeader, hops: p.certificates.hops}}
		}
	default:
		err = &policy.FieldError{Field: "jwt", Err: errors.New("a provider needs it, or another kind of credential")}
	}
	if err != nil {
		return nil, err
	}
	return p, nil
}
