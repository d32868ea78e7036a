package keys

import (
	"crypto/sha256"
	"errors"
	"fmt"

	"github.com/kasbah-authz/kasbah/policy"
	configv1 "github.com/kasbah-authz/kasbah/proto/kasbah/config/v1"
)

// symmetricAlgorithms are those of a shared secret (RFC 7518, section 3.2). No provider has them together with others, so
// that no public key is ever taken for a secret.
var symmetricAlgorithms = []string{"HS256", "HS384", "HS512"}

// sharedSecrets returns a key set of secrets.
func sharedSecrets(messages []*configv1.SharedSecret, files Files) (keySource, error) {
	set := &keySet{byID: map[string]*key{}}
	digest := sha256.New()
	for i, message := range messages {
		field := fmt.Sprintf("jwt.secrets[%d]", i)
		if message.GetId() == "" && len(messages) > 1 || set.byID[message.GetId()] != nil {
			return nil, &policy.FieldError{Field: field + ".id", Err: errors.New("each of several secrets needs an id of its own, which is the token's kid")}
		}
		if files.Secret == nil {
			return nil, &policy.FieldError{Field: field + ".secret", Err: errors.New("secrets are not read here")}
		}
		secret, err := files.Secret(message.GetSecret())
		if err != nil {
			return nil, &policy.FieldError{Field: field + ".secret", Err: err}
		}
		least, ok := map[string]int{"HS256": 32, "HS384": 48, "HS512": 64}[message.GetAlgorithm()]
		if !ok {
			return nil, &policy.FieldError{Field: field + ".algorithm", Err: fmt.Errorf("it is none of %v", symmetricAlgorithms)}
		}
		if len(secret) < least {
			return nil, &policy.FieldError{Field: field + ".secret", Err: fmt.Errorf("it has %d bytes, and %s needs %d or more", len(secret), message.GetAlgorithm(), least)}
		}
		k := &key{
			id: message.GetId(), index: i, algorithms: []string{message.GetAlgorithm()},
			material: []byte(secret),
		}
		set.keys = append(set.keys, k)
		if k.id != "" {
			set.byID[k.id] = k
		}
		fmt.Fprintf(digest, "%d:%s%d:%s%s", len(k.id), k.id, len(secret), secret, message.GetAlgorithm())
	}
	copy(set.digest[:], digest.Sum(nil))
	return static{set}, nil
}
