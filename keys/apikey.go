package keys

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash/crc32"
	"strings"
)

// An API key is kb_<environment>_<id>_<secret><checksum>. A scanner for leaked secrets can tell
// it by the beginning, and a mistyped one is told by the checksum; the id says which key it is, to us and in logs; the
// secret is 190 random bits, so that a plain hash of it cannot be guessed.
const (
	apiKeyPrefix   = "kb_"
	apiKeyID       = 12 // characters
	apiKeySecret   = 32
	apiKeyChecksum = 6
	// maxAPIKey is the longest key that is looked at, in bytes. Those that other services make are shorter.
	maxAPIKey = 512
)

const base62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

// NewAPIKey makes a key with an id of its own, or, where an id is given, another secret for that id. The environment is
// "live" or "test", or any other word of lower-case letters and digits.
func NewAPIKey(environment, id string) (key, newID string, err error) {
	if environment == "" || len(environment) > 20 || strings.Trim(environment, "abcdefghijklmnopqrstuvwxyz0123456789") != "" {
		return "", "", fmt.Errorf("%q is no environment; it is a word of lower-case letters and digits, such as live or test", environment)
	}
	if id == "" {
		id = randomText(apiKeyID)
	}
	text := apiKeyPrefix + environment + "_" + id + "_" + randomText(apiKeySecret)
	return text + checksum(text), id, nil
}

// HashAPIKey returns what a store keeps of a key: its SHA-256, in hexadecimal.
func HashAPIKey(key string) string {
	sum := sha256.Sum256([]byte(key))
	return hex.EncodeToString(sum[:])
}

// randomText returns random characters of base62, each as likely as any other.
func randomText(length int) string {
	text := make([]byte, 0, length)
	var buffer [64]byte
	for len(text) < length {
		_, _ = rand.Read(buffer[:]) // it ends the process where the system has no randomness, and returns no error
		for _, b := range buffer {
			if b < 4*62 && len(text) < length { // what is above would make some characters more likely
				text = append(text, base62[b%62])
			}
		}
	}
	return string(text)
}

// checksum returns the CRC-32 of a text in base62. It tells mistakes, and keeps nobody from anything.
func checksum(text string) string {
	sum := crc32.ChecksumIEEE([]byte(text))
	var digits [apiKeyChecksum]byte
	for i := len(digits) - 1; i >= 0; i-- {
		digits[i] = base62[sum%62]
		sum /= 62
	}
	return string(digits[:])
}

// splitAPIKey returns the id of a key of our form. Others are errMalformed; ours says whether it looks like one of ours.
func splitAPIKey(key string) (id string, ours bool, err error) {
	parts := strings.Split(key, "_")
	if len(parts) != 4 || parts[0]+"_" != apiKeyPrefix {
		return "", false, fmt.Errorf("%w: an API key is kb_<environment>_<id>_<secret>", errMalformed)
	}
	if len(parts[3]) != apiKeySecret+apiKeyChecksum || strings.Trim(parts[2]+parts[3], base62) != "" {
		return "", true, fmt.Errorf("%w: the API key is cut off, or has other characters than keys have", errMalformed)
	}
	if text := key[:len(key)-apiKeyChecksum]; checksum(text) != key[len(text):] {
		return "", true, fmt.Errorf("%w: the API key's checksum does not fit; a character of it is wrong", errMalformed)
	}
	return parts[2], true, nil
}
