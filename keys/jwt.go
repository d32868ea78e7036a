package keys

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/kasbah-authz/kasbah/keys/internal/outbound"
	"github.com/kasbah-authz/kasbah/policy"
	configv1 "github.com/kasbah-authz/kasbah/proto/kasbah/config/v1"
)

const (
	defaultLeeway      = 30 * time.Second
	defaultMaxLifetime = 24 * time.Hour
	// longestLifetime caps a configured maximum, so that no sum of times overflows.
	longestLifetime = 100 * 365 * 24 * time.Hour
)

// jwtProvider accepts the tokens of one issuer. It is immutable.
type jwtProvider struct {
	claimRules

	issuers    map[string]issuer
	algorithms []string
	types      []string        // as mediaType has them; "" accepts a token without typ
	decryption []decryptionKey // none: a token is not encrypted; otherwise it must be
	logout     *logout         // nil: the issuer's logout tokens are not heard

	enrichment *enrichment // nil: nobody is asked more

	store   *Store
	sources []keySource       // of all issuers, each once
	digest  [sha256.Size]byte // of all of the above
}

// issuer is one issuer of a provider: the only one, or that of a tenant.
type issuer struct {
	tenant string
	keys   keySource
}

// jwtProvider compiles a provider of tokens.
func (s *Store) jwtProvider(cfg *configv1.Provider, reach outbound.Settings, files Files) (*jwtProvider, error) {
	token := cfg.GetJwt()
	if err := checkJWT(token); err != nil {
		return nil, err
	}
	p := &jwtProvider{
		issuers: map[string]issuer{}, algorithms: slices.Clone(token.GetAlgorithms()), types: typesOf(token.GetTypes()), store: s,
	}
	var err error
	if p.claimRules, err = newClaimRules(cfg.GetName(), "jwt", token, files); err != nil {
		return nil, err
	}
	p.maxLifetime = min(duration(token.GetMaxLifetime(), defaultMaxLifetime), longestLifetime)
	p.logout = newLogout(token.GetLogout(), p.claimRules)
	if p.decryption, err = decryptionKeys(token.GetDecryption(), files); err != nil {
		return nil, err
	}
	if err := s.issuersOf(p, token, reach, files); err != nil {
		return nil, err
	}
	if p.enrichment, err = s.enrichment(cfg, reach, files); err != nil {
		return nil, err
	}
	if p.digest, err = digest(cfg, reach, p.sources, p.decryption); err != nil {
		return nil, err
	}
	return p, nil
}

// issuersOf fills in the provider's issuers with their keys.
func (s *Store) issuersOf(p *jwtProvider, token *configv1.Jwt, reach outbound.Settings, files Files) error {
	tenants := token.GetTenants()
	if len(tenants) == 0 {
		tenants = []string{""}
	}
	discovered := token.GetJwks() == nil && len(token.GetSecrets()) == 0
	ofEach := discovered || strings.Contains(token.GetJwks().GetUrl(), "{tenant}")
	for i, tenant := range tenants {
		if i == 0 || ofEach {
			keys, err := s.keySource(token, tenant, reach, files)
			if err != nil {
				return err
			}
			p.sources = append(p.sources, keys)
		}
		p.issuers[forTenant(token.GetIssuer(), tenant)] = issuer{tenant, p.sources[len(p.sources)-1]}
	}
	return nil
}

// forTenant puts the tenant into an issuer or an address.
func forTenant(pattern, tenant string) string {
	if tenant == "" {
		return pattern
	}
	return strings.ReplaceAll(pattern, "{tenant}", tenant)
}

// generation changes whenever any of the provider's key sets does. ok is false where no keys are in force. Where
// there are several sets it is a hash, because the set that an unread token belongs to is not known.
func (p *jwtProvider) generation(now time.Time) (generation uint64, ok bool) {
	for _, source := range p.sources {
		if set := source.current(now); set != nil {
			generation, ok = (generation^set.generation)*1099511628211, true // FNV-1a
			continue
		}
		generation *= 1099511628211
	}
	return generation, ok
}

// checkJWT repeats the schema's rules that keep tokens out, because nothing else here holds if they do not.
func checkJWT(token *configv1.Jwt) error {
	if token.GetIssuer() == "" {
		return &policy.FieldError{Field: "jwt.issuer", Err: errors.New("a provider needs it")}
	}
	if len(token.GetAlgorithms()) == 0 {
		return &policy.FieldError{Field: "jwt.algorithms", Err: errors.New("a provider needs at least one")}
	}
	symmetric := len(token.GetSecrets()) > 0
	if symmetric && token.GetJwks() != nil {
		return &policy.FieldError{Field: "jwt.jwks", Err: errors.New("keys and shared secrets do not go together")}
	}
	if tenants := strings.Count(token.GetIssuer(), "{tenant}"); tenants != min(len(token.GetTenants()), 1) {
		return &policy.FieldError{Field: "jwt.issuer", Err: errors.New("it holds {tenant} once where tenants are named, and not at all where none are")}
	}
	known := symmetricAlgorithms
	if !symmetric {
		known = asymmetricAlgorithms
	}
	for i, algorithm := range token.GetAlgorithms() {
		if !slices.Contains(known, algorithm) {
			return &policy.FieldError{
				Field: fmt.Sprintf("jwt.algorithms[%d]", i),
				Err:   fmt.Errorf("%q is not for the keys of this provider; those are %v", algorithm, known),
			}
		}
	}
	return nil
}

func typesOf(configured []string) []string {
	if len(configured) == 0 {
		return []string{"", "jwt", "at+jwt"}
	}
	types := make([]string, len(configured))
	for i, text := range configured {
		types[i] = mediaType(text)
	}
	return types
}

func duration(configured *durationpb.Duration, otherwise time.Duration) time.Duration {
	if configured == nil {
		return otherwise
	}
	return configured.AsDuration()
}

// keySource returns a tenant's keys: shared secrets, those of a file or of the text itself, or a remote set.
func (s *Store) keySource(token *configv1.Jwt, tenant string, reach outbound.Settings, files Files) (keySource, error) {
	if len(token.GetSecrets()) > 0 {
		return sharedSecrets(token.GetSecrets(), files)
	}
	switch from := token.GetJwks().GetSource().(type) {
	case *configv1.Jwks_File:
		document, err := files.Read(from.File)
		if err != nil {
			return nil, &policy.FieldError{Field: "jwt.jwks.file", Err: err}
		}
		return s.static("jwt.jwks.file", document)
	case *configv1.Jwks_Inline:
		return s.static("jwt.jwks.inline", []byte(from.Inline))
	case *configv1.Jwks_Url:
		if !isURL(from.Url) {
			return nil, &policy.FieldError{Field: "jwt.jwks.url", Err: errors.New("no http or https URL")}
		}
		return s.remote(source{url: forTenant(from.Url, tenant), reach: reach})
	}
	if token.GetJwks() != nil {
		return nil, &policy.FieldError{Field: "jwt.jwks", Err: errors.New("say where the key set is: file, url or inline")}
	}
	if !isURL(token.GetIssuer()) {
		return nil, &policy.FieldError{
			Field: "jwt.issuer",
			Err:   errors.New("without jwks the keys are discovered at the issuer, so that it must be an http or https URL"),
		}
	}
	return s.remote(source{issuer: forTenant(token.GetIssuer(), tenant), reach: reach})
}

func (s *Store) static(field string, document []byte) (keySource, error) {
	set, err := parseKeySet(document)
	if err != nil {
		return nil, &policy.FieldError{Field: field, Err: err}
	}
	if len(set.leftOut) > 0 {
		s.logger.Warn("keys are not usable", "source", field, "count", len(set.leftOut), "first", set.leftOut[0])
	}
	return static{set}, nil
}

func isURL(text string) bool {
	parsed, err := url.Parse(text)
	return err == nil && parsed.Host != "" && (parsed.Scheme == "http" || parsed.Scheme == "https")
}

// digest identifies a provider in the cache: its whole configuration, whom its servers are believed to be by, and the keys that
// never change. The generation of remote sets stands beside it.
func digest(cfg *configv1.Provider, reach outbound.Settings, sources []keySource, decryption []decryptionKey) (sum [sha256.Size]byte, err error) {
	text, err := proto.MarshalOptions{Deterministic: true}.Marshal(cfg)
	if err != nil {
		return sum, &policy.FieldError{Field: "name", Err: err}
	}
	input := binary.BigEndian.AppendUint64(nil, uint64(len(text)))
	input = append(input, text...)
	authorities := sha256.Sum256([]byte(reach.Authorities))
	input = append(input, authorities[:]...)
	for _, source := range sources {
		if fixed, ok := source.(static); ok {
			input = append(input, fixed.set.digest[:]...)
		}
	}
	for _, key := range decryption { // the configuration has their number
		input = append(input, key.digest[:]...)
	}
	return sha256.Sum256(input), nil
}
