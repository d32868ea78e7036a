package mint

import (
	"crypto/sha256"
	"encoding/binary"

	"github.com/kasbah-authz/kasbah/policy"
)

// usual is as long as a statement usually is, so that most need no memory of their own, in bytes.
const usual = 1 << 10

// state returns the statement of a token. Every text and every list has its length before it, so that no two that differ are
// written alike.
func (m *Minter) state(key *Key, principal *policy.Principal, audiences []string, extra []said) statement {
	text := append(make([]byte, 0, usual), m.base...)
	for _, one := range [...]string{
		key.ID, key.Algorithm, principal.ID, principal.Provider, principal.Issuer, principal.Subject, principal.Tenant, client(principal),
	} {
		text = writeText(text, one)
	}
	for _, list := range [...][]string{audiences, principal.Roles, principal.Scopes} {
		text = writeInt(text, int64(len(list)))
		for _, one := range list {
			text = writeText(text, one)
		}
	}
	text = writeInt(writeInt(text, principal.Expires.Unix()), int64(len(extra))) // no token ends within a second
	for _, one := range extra {
		text = writeText(text, one.name)
		text = append(writeInt(text, int64(len(one.text))), one.text...)
	}
	return sha256.Sum256(text)
}

func writeInt(to []byte, number int64) []byte {
	return binary.BigEndian.AppendUint64(to, uint64(number))
}

func writeText(to []byte, text string) []byte { return append(writeInt(to, int64(len(text))), text...) }
