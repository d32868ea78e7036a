package keys

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

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
	name        string
	issuer      string
	audiences   []string
	anyAudience bool
	algorithms  []string
	types       []string // as mediaType has them; "" accepts a token without typ
	leeway      time.Duration
	maxLifetime time.Duration
	idPath      string
	rolesPath   string
	scopesPath  string

	store  *Store
	keys   keySource
	parser *jwt.Parser
	digest [sha256.Size]byte // of all of the above
}

// jwtProvider compiles a provider of tokens.
func (s *Store) jwtProvider(cfg *configv1.Provider, read func(path string) ([]byte, error)) (*jwtProvider, error) {
	token := cfg.GetJwt()
	if err := checkJWT(token); err != nil {
		return nil, err
	}
	paths := token.GetPrincipal()
	p := &jwtProvider{
		name: cfg.GetName(), issuer: token.GetIssuer(),
		audiences: slices.Clone(token.GetAudiences()), anyAudience: token.GetAnyAudience(),
		algorithms: slices.Clone(token.GetAlgorithms()), types: typesOf(token.GetTypes()),
		leeway:      duration(token.GetLeeway(), defaultLeeway),
		maxLifetime: min(duration(token.GetMaxLifetime(), defaultMaxLifetime), longestLifetime),
		idPath:      cmp.Or(paths.GetId(), "sub"),
		rolesPath:   cmp.Or(paths.GetRoles(), "roles"),
		scopesPath:  cmp.Or(paths.GetScopes(), "scope"),
		store:       s,
	}
	p.parser = jwt.NewParser(jwt.WithValidMethods(p.algorithms), jwt.WithStrictDecoding(), jwt.WithoutClaimsValidation())
	var err error
	if p.keys, err = s.keySource(token, read); err != nil {
		return nil, err
	}
	if p.digest, err = digest(cfg, p.keys); err != nil {
		return nil, err
	}
	return p, nil
}

// checkJWT repeats the schema's rules that keep tokens out, because nothing else here holds if they do not.
func checkJWT(token *configv1.Jwt) error {
	if token.GetIssuer() == "" {
		return &policy.FieldError{Field: "jwt.issuer", Err: errors.New("a provider needs it")}
	}
	if (len(token.GetAudiences()) > 0) == token.GetAnyAudience() {
		return &policy.FieldError{Field: "jwt.audiences", Err: errors.New("name the audiences that a token must be for, or write any_audience: true")}
	}
	if len(token.GetAlgorithms()) == 0 {
		return &policy.FieldError{Field: "jwt.algorithms", Err: errors.New("a provider needs at least one")}
	}
	known := slices.Concat(rsaAlgorithms, p256Algorithms, p384Algorithms, p521Algorithms, eddsaAlgorithms)
	for i, algorithm := range token.GetAlgorithms() {
		if !slices.Contains(known, algorithm) {
			return &policy.FieldError{
				Field: fmt.Sprintf("jwt.algorithms[%d]", i),
				Err:   fmt.Errorf("%q is no signature algorithm with a public key; those are %v", algorithm, known),
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

// keySource returns the provider's keys: those of a file or of the text itself, or a remote set.
func (s *Store) keySource(token *configv1.Jwt, read func(path string) ([]byte, error)) (keySource, error) {
	switch from := token.GetJwks().GetSource().(type) {
	case *configv1.Jwks_File:
		document, err := read(from.File)
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
		return s.remote(source{url: from.Url}), nil
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
	return s.remote(source{issuer: token.GetIssuer()}), nil
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

// digest identifies a provider in the cache: its whole configuration, and the keys if they never change. The
// generation of a remote set stands beside it.
func digest(cfg *configv1.Provider, keys keySource) (sum [sha256.Size]byte, err error) {
	text, err := proto.MarshalOptions{Deterministic: true}.Marshal(cfg)
	if err != nil {
		return sum, &policy.FieldError{Field: "jwt", Err: err}
	}
	input := binary.BigEndian.AppendUint64(nil, uint64(len(text)))
	input = append(input, text...)
	if fixed, ok := keys.(static); ok {
		input = append(input, fixed.set.digest[:]...)
	}
	return sha256.Sum256(input), nil
}
