package mint

import (
	"crypto"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/MicahParks/jwkset"
)

const (
	// maxKeyID is the longest `kid`, in bytes.
	maxKeyID = 256
	// maxSeconds keeps times of a file within what time.Time can tell apart.
	maxSeconds = 1 << 40
)

// privateJWK is a key as its file has it (RFC 7517, section 4), with the times that we need beside it, in Unix seconds: when it was
// made, from when on it signs, and until when it is published.
type privateJWK struct {
	jwkset.JWKMarshal
	Created int64 `json:"iat,omitempty"`
	Signs   int64 `json:"nbf"`
	Ends    int64 `json:"exp,omitempty"`
}

// published is what the world sees of a key. It names every member that may be seen, so that a private one has no way out.
type published struct {
	KTY string `json:"kty"`
	CRV string `json:"crv,omitempty"`
	X   string `json:"x,omitempty"`
	Y   string `json:"y,omitempty"`
	N   string `json:"n,omitempty"`
	E   string `json:"e,omitempty"`
	KID string `json:"kid"`
	ALG string `json:"alg"`
	USE string `json:"use"`
}

// publicJWK returns the public part of a key as JSON, made of the public key alone.
func publicJWK(k *Key) (json.RawMessage, error) {
	parsed, err := jwkset.NewJWKFromKey(k.private.Public(), jwkset.JWKOptions{})
	if err != nil {
		return nil, errors.New("its public part is no JWK")
	}
	m := parsed.Marshal()
	return json.Marshal(published{string(m.KTY), string(m.CRV), m.X, m.Y, m.N, m.E, k.ID, k.Algorithm, "sig"})
}

// Read reads the members of a file of keys, which its caller has read from JSON. Errors hold nothing of a key.
func Read(file map[string]any) (*Keys, error) {
	members, ok := file["keys"].([]any)
	if !ok {
		return nil, errors.New("it has no array named keys")
	}
	if len(members) == 0 || len(members) > maxKeys {
		return nil, fmt.Errorf("it has %d keys, and 1 to %d are taken", len(members), maxKeys)
	}
	keys, ids := &Keys{}, map[string]bool{}
	for i, member := range members {
		key, err := readKey(member)
		if err == nil && ids[key.ID] {
			err = errors.New("another key has its kid")
		}
		if err != nil {
			return nil, fmt.Errorf("keys[%d]: %w", i, err)
		}
		ids[key.ID] = true
		keys.list = append(keys.list, key)
	}
	keys.sort()
	return keys, nil
}

func readKey(member any) (*Key, error) {
	if _, ok := member.(map[string]any); !ok {
		return nil, errors.New("no object")
	}
	text, err := json.Marshal(member)
	if err != nil {
		return nil, errors.New("no JSON")
	}
	var m privateJWK
	if json.Unmarshal(text, &m) != nil { // its errors quote values
		return nil, errors.New("a member of the wrong kind")
	}
	switch {
	case m.D == "":
		return nil, errors.New("it has no private part, d")
	case m.KID == "" || len(m.KID) > maxKeyID:
		return nil, fmt.Errorf("kid is absent, or longer than %d bytes", maxKeyID)
	case m.USE != "" && m.USE != jwkset.UseSig:
		return nil, errors.New("use is not sig")
	case min(m.Created, m.Signs, m.Ends) < 0 || max(m.Created, m.Signs, m.Ends) > maxSeconds:
		return nil, errors.New("iat, nbf or exp is no time in Unix seconds")
	}
	parsed, err := jwkset.NewJWKFromMarshal(m.JWKMarshal, jwkset.JWKMarshalOptions{Private: true}, jwkset.JWKValidateOptions{})
	if err != nil {
		return nil, errors.New("no private key in the form of RFC 7518, section 6")
	}
	private, ok := parsed.Key().(crypto.Signer)
	if !ok {
		return nil, errors.New("no key that signs")
	}
	key := &Key{ID: m.KID, Algorithm: string(m.ALG), Created: at(m.Created), Signs: at(m.Signs), Ends: at(m.Ends), private: private}
	return key, key.complete()
}

// at is the time of Unix seconds, the zero time for 0.
func at(seconds int64) time.Time {
	if seconds == 0 {
		return time.Time{}
	}
	return time.Unix(seconds, 0)
}

func seconds(at time.Time) int64 {
	if at.IsZero() {
		return 0
	}
	return at.Unix()
}

// Format returns the text of a file that [Read] reads as the same keys. It is secret.
func (k *Keys) Format() ([]byte, error) {
	list := make([]privateJWK, len(k.list))
	for i, key := range k.list {
		parsed, err := jwkset.NewJWKFromKey(key.private, jwkset.JWKOptions{
			Marshal:  jwkset.JWKMarshalOptions{Private: true},
			Metadata: jwkset.JWKMetadataOptions{ALG: jwkset.ALG(key.Algorithm), KID: key.ID, USE: jwkset.UseSig},
		})
		if err != nil {
			return nil, fmt.Errorf("writing the key %s: %w", key.ID, err)
		}
		list[i] = privateJWK{parsed.Marshal(), seconds(key.Created), seconds(key.Signs), seconds(key.Ends)}
	}
	text, err := json.MarshalIndent(map[string]any{"keys": list}, "", "  ")
	return append(text, '\n'), err
}
