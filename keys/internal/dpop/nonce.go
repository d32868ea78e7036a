package dpop

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"time"
)

// Nonces are the texts that a proof must repeat (RFC 9449, section 9). Nothing of them is stored: a nonce is the number of the
// span of time in which it was given out, and a message authentication code of that. Whoever has the same key knows it again.
type Nonces struct {
	key  []byte
	span time.Duration
}

// nonceLength is the length of a nonce: 8 bytes of a number and 16 of a code, in base64url.
const nonceLength = 32

// NewNonces returns those of a key, each of which is good for at most maxAge and for half of that at least.
func NewNonces(key []byte, maxAge time.Duration) *Nonces {
	return &Nonces{key: key, span: max(maxAge/2, time.Millisecond)}
}

// Current is the nonce to give out now.
func (n *Nonces) Current(now time.Time) string { return n.of(n.number(now)) }

// Check reports whether a nonce is one that was given out in this span of time or the one before, and whether it is the current
// one. One of the next span is good too: a replica whose clock is ahead gave it out.
func (n *Nonces) Check(nonce string, now time.Time) (good, current bool) {
	if len(nonce) != nonceLength {
		return false, false
	}
	data, err := base64.RawURLEncoding.DecodeString(nonce)
	if err != nil {
		return false, false
	}
	number, at := int64(binary.BigEndian.Uint64(data)), n.number(now)
	if number < at-1 || number > at+1 || !hmac.Equal([]byte(n.of(number)), []byte(nonce)) {
		return false, false
	}
	return true, number >= at
}

func (n *Nonces) number(now time.Time) int64 { return now.UnixNano() / int64(n.span) }

func (n *Nonces) of(number int64) string {
	text := binary.BigEndian.AppendUint64(make([]byte, 0, 8+sha256.Size), uint64(number))
	code := hmac.New(sha256.New, n.key)
	code.Write([]byte("dpop nonce"))
	code.Write(binary.BigEndian.AppendUint64(nil, uint64(n.span))) // so that a change of the configuration ends them
	code.Write(text)
	return encode(code.Sum(text)[:8+16])
}
