// Package mint makes short-lived tokens of our own about principals, for upstreams that are to know one issuer only.
//
// [Read] reads a file of private keys that replicas share, [Keys.Rotate] adds one. A [Minter] signs with the newest key whose
// time has come, and publishes all that may have signed what is still good, and those whose time is yet to come. What it
// has minted is in a [Cache], which several Minters may share: signing takes tens of microseconds, and a principal makes
// many requests in the time that a token is good for.
//
// What it guarantees: no private member of a key leaves the package but by [Keys.Format]; no token is good for longer than the
// credential that its principal came with; and a token in the cache is found again only for what it says, to the byte.
//
// It does not read JSON text, of which package keys has the strict reader, and knows no configuration.
package mint

import (
	"cmp"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

const (
	// maxKeys is how many keys a file may have.
	maxKeys = 100
	// rsaBits is the size of the RSA keys that are made. A larger one costs every signature several times as much.
	rsaBits = 2048
)

// Algorithms are those that keys may be for (RFC 7518, section 3.1; RFC 8037, section 3.1).
var Algorithms = []string{"ES256", "EdDSA", "RS256"}

// ErrNoKey is that no key's time has come yet.
var ErrNoKey = errors.New("no key signs yet")

// Key is one private key. It is immutable.
type Key struct {
	ID, Algorithm string
	Created       time.Time
	// Signs is from when on it signs, until the next one does.
	Signs time.Time
	// Ends is until when it is published at the least; the zero time for no end.
	Ends time.Time

	private crypto.Signer
	method  jwt.SigningMethod
	public  json.RawMessage // as it is published
}

// Keys are the keys of one file, those that sign first before those that sign later. They are immutable.
type Keys struct{ list []*Key }

// All returns the keys in their order.
func (k *Keys) All() []*Key { return slices.Clone(k.list) }

// Current returns the key that signs now: the last one whose time has come, nil where none has.
func (k *Keys) Current(now time.Time) *Key {
	var current *Key
	for _, key := range k.list {
		if now.Before(key.Signs) {
			break
		}
		current = key
	}
	return current
}

// published returns the public parts of the keys that a verifier may meet: the one that signs, those that will, and those
// before, until lifetime after their last signature and as long as the file says.
func (k *Keys) published(now time.Time, lifetime time.Duration) []json.RawMessage {
	all := []json.RawMessage{}
	for i, key := range k.list {
		over := i+1 < len(k.list) && !now.Before(k.list[i+1].Signs.Add(lifetime)) && !key.Ends.IsZero() && !now.Before(key.Ends)
		if !over {
			all = append(all, key.public)
		}
	}
	return all
}

// Rotate returns the keys with another one of that algorithm, which signs from that time on. Those before it end keep after
// that, unless they end before; what has ended now is left out.
func (k *Keys) Rotate(algorithm string, now, signs time.Time, keep time.Duration) (*Keys, error) {
	next := &Keys{}
	end := signs.Add(keep)
	for _, key := range k.list {
		if !key.Ends.IsZero() && !now.Before(key.Ends) {
			continue
		}
		if changed := *key; key.Ends.IsZero() || end.Before(key.Ends) {
			changed.Ends = end
			key = &changed
		}
		next.list = append(next.list, key)
	}
	if len(next.list) >= maxKeys {
		return nil, fmt.Errorf("there are %d keys already that have not ended", len(next.list))
	}
	private, err := generate(algorithm)
	if err != nil {
		return nil, err
	}
	key := &Key{ID: rand.Text(), Algorithm: algorithm, Created: now, Signs: signs, private: private}
	if err := key.complete(); err != nil {
		return nil, err
	}
	next.list = append(next.list, key)
	next.sort()
	return next, nil
}

// sort keeps the order of those that sign and were made in one second, which is that of the file: the one that was added last signs.
func (k *Keys) sort() {
	slices.SortStableFunc(k.list, func(a, b *Key) int {
		return cmp.Or(a.Signs.Truncate(time.Second).Compare(b.Signs.Truncate(time.Second)), a.Created.Truncate(time.Second).Compare(b.Created.Truncate(time.Second)))
	})
}

func generate(algorithm string) (crypto.Signer, error) {
	switch algorithm {
	case "ES256":
		return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case "EdDSA":
		_, private, err := ed25519.GenerateKey(rand.Reader)
		return private, err
	case "RS256":
		return rsa.GenerateKey(rand.Reader, rsaBits)
	}
	return nil, fmt.Errorf("the algorithm is none of %v", Algorithms)
}

// complete fills in what follows from the key itself, and tries it: a signature that its own public part does not verify
// would be every caller's loss.
func (k *Key) complete() error {
	fits := false
	switch private := k.private.(type) {
	case *ecdsa.PrivateKey:
		k.method, fits = jwt.SigningMethodES256, k.Algorithm == "ES256" && private.Curve == elliptic.P256()
	case ed25519.PrivateKey:
		k.method, fits = jwt.SigningMethodEdDSA, k.Algorithm == "EdDSA"
	case *rsa.PrivateKey:
		bits := private.N.BitLen()
		k.method, fits = jwt.SigningMethodRS256, k.Algorithm == "RS256" && bits >= rsaBits && bits <= 4*rsaBits
	}
	if !fits {
		return fmt.Errorf("it is no key for its alg, which is one of %v: P-256, Ed25519, or RSA of %d to %d bits", Algorithms, rsaBits, 4*rsaBits)
	}
	signature, err := k.method.Sign("kasbah", k.private)
	if err == nil {
		err = k.method.Verify("kasbah", signature, k.private.Public())
	}
	if err != nil {
		return errors.New("its private and its public part do not belong together")
	}
	k.public, err = publicJWK(k)
	return err
}
