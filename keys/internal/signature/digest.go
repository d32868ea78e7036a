package signature

import (
	"crypto/sha256"
	"crypto/sha512"
	"crypto/subtle"
	"errors"
	"fmt"
)

// maxDigests is how many digests a header may have.
const maxDigests = 8

// CheckDigest returns an error where the value of the one Content-Digest of a request is not of that body (RFC 9530, section 2).
// Each SHA-256 and SHA-512 must be right, and there must be one; of other algorithms nothing is known.
func CheckDigest(header string, body []byte) error {
	if len(header) > maxHeader {
		return fmt.Errorf("the Content-Digest is longer than %d bytes", maxHeader)
	}
	known, wrong := 0, false
	s := scanner{text: header}
	err := s.dictionary(maxDigests, func(algorithm string) error {
		said, err := s.bytes(maxSignature)
		if err != nil {
			return err
		}
		var sum []byte
		switch algorithm {
		case "sha-256":
			is := sha256.Sum256(body)
			sum = is[:]
		case "sha-512":
			is := sha512.Sum512(body)
			sum = is[:]
		default:
			return nil
		}
		known++
		wrong = wrong || subtle.ConstantTimeCompare(sum, said) != 1
		return nil
	})
	switch {
	case err != nil:
		return fmt.Errorf("the Content-Digest: %w", err)
	case known == 0:
		return errors.New("the Content-Digest has neither sha-256 nor sha-512")
	case wrong:
		return errors.New("the Content-Digest is that of another body")
	}
	return nil
}
