package password

import (
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/crypto/argon2"
	"golang.org/x/crypto/bcrypt"
)

// The bounds of what a hash costs. What is below them is guessed too quickly, what is above them lets few callers stop the rest.
const (
	minBcrypt, maxBcrypt = 10, 14 // some 50 ms and 1 s
	// The least of argon2id is what OWASP's cheat sheet has for it, whose pairs of memory and passes all come to this product.
	minMemory, maxMemory = 7 << 10, 64 << 10 // KiB
	minWork, maxWork     = 35 << 10, 256 << 10
	maxPasses            = 16
	maxThreads           = 4
	minSalt, maxSalt     = 8, 64
	minKey, maxKey       = 16, 64
	// maxBcryptPassword is what bcrypt reads of a password, in bytes; the rest would not count.
	maxBcryptPassword = 72
)

// cost is a kind of hash, and how dear it is. Two of one cost take equally long.
type cost struct {
	bcrypt int // the logarithm of the rounds; 0 for argon2id

	memory, passes, key uint32 // of argon2id, the memory in KiB, the key in bytes
	threads             uint8
}

// work puts costs in an order in which dearer ones are later, roughly.
func (c cost) work() uint64 {
	if c.bcrypt > 0 {
		return 1 << (c.bcrypt + 6)
	}
	return uint64(c.memory) * uint64(c.passes)
}

// dummy returns a hash of that cost that no password is known to have.
func (c cost) dummy() *hash {
	if c.bcrypt > 0 {
		return &hash{cost: c, text: fmt.Sprintf("$2b$%02d$%s", c.bcrypt, strings.Repeat(".", 53))}
	}
	return &hash{cost: c, salt: make([]byte, 16), sum: make([]byte, c.key)}
}

// hash is one user's.
type hash struct {
	cost
	text      string // as the file has it
	salt, sum []byte // of argon2id
}

// fits reports whether the password has the hash.
func (h *hash) fits(password string) bool {
	if h.bcrypt > 0 {
		whole := len(password) <= maxBcryptPassword
		if !whole {
			password = password[:maxBcryptPassword] // for the same work, and in vain
		}
		return bcrypt.CompareHashAndPassword([]byte(h.text), []byte(password)) == nil && whole
	}
	sum := argon2.IDKey([]byte(password), h.salt, h.passes, h.memory, h.threads, h.key)
	return subtle.ConstantTimeCompare(sum, h.sum) == 1
}

// readHash reads a hash. The error has no text of it.
func readHash(text string) (*hash, error) {
	switch {
	case strings.HasPrefix(text, "$2a$"), strings.HasPrefix(text, "$2b$"), strings.HasPrefix(text, "$2y$"):
		return readBcrypt(text)
	case strings.HasPrefix(text, "$argon2id$"):
		return readArgon2(text)
	}
	return nil, errors.New("the hash is neither bcrypt ($2a$, $2b$, $2y$) nor argon2id ($argon2id$); write it anew, as with htpasswd -B -C 12")
}

const bcryptAlphabet = "./ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"

// readBcrypt reads $2b$<two digits>$<22 characters of salt><31 of hash>.
func readBcrypt(text string) (*hash, error) {
	if len(text) != 60 || text[6] != '$' || strings.Trim(text[7:], bcryptAlphabet) != "" {
		return nil, errors.New("the bcrypt hash is cut off, or has other characters than hashes have")
	}
	cost := cost{}
	var err error
	if cost.bcrypt, err = strconv.Atoi(text[4:6]); err != nil || cost.bcrypt < minBcrypt || cost.bcrypt > maxBcrypt {
		return nil, fmt.Errorf("the cost of a bcrypt hash is %d to %d; write it anew, as with htpasswd -B -C 12", minBcrypt, maxBcrypt)
	}
	if _, err := bcrypt.Cost([]byte(text)); err != nil {
		return nil, errors.New("the bcrypt hash cannot be read")
	}
	return &hash{cost: cost, text: text}, nil
}

// readArgon2 reads $argon2id$v=19$m=<KiB>,t=<passes>,p=<threads>$<salt>$<hash>, the last two in base64 without padding.
func readArgon2(text string) (*hash, error) {
	parts := strings.Split(text, "$")
	if len(parts) != 6 || parts[2] != "v=19" {
		return nil, errors.New("an argon2id hash is $argon2id$v=19$m=…,t=…,p=…$salt$hash")
	}
	h := &hash{text: text}
	settings := strings.Split(parts[3], ",")
	if len(settings) != 3 {
		return nil, errors.New("an argon2id hash has three parameters: m, t and p, in this order")
	}
	var numbers [3]uint32
	for i, name := range [...]string{"m=", "t=", "p="} {
		digits, ok := strings.CutPrefix(settings[i], name)
		n, err := strconv.ParseUint(digits, 10, 32)
		if !ok || err != nil || digits[0] == '0' || digits[0] == '+' {
			return nil, errors.New("an argon2id hash has three parameters: m, t and p, in this order, each a number")
		}
		numbers[i] = uint32(n)
	}
	h.memory, h.passes = numbers[0], numbers[1]
	switch work := h.work(); {
	case h.memory < minMemory || work < minWork:
		return nil, fmt.Errorf("the argon2id hash is weak: m is %d KiB or more, and m times t %d or more", minMemory, minWork)
	case h.memory > maxMemory || h.passes > maxPasses || work > maxWork || numbers[2] > maxThreads:
		return nil, fmt.Errorf("the argon2id hash is too dear: m is at most %d KiB, t %d, m times t %d, and p %d", maxMemory, maxPasses, maxWork, maxThreads)
	}
	h.threads = uint8(numbers[2])
	strict := base64.RawStdEncoding.Strict()
	var err error
	if h.salt, err = strict.DecodeString(parts[4]); err != nil || len(h.salt) < minSalt || len(h.salt) > maxSalt {
		return nil, fmt.Errorf("the salt of an argon2id hash is %d to %d bytes in base64 without padding", minSalt, maxSalt)
	}
	if h.sum, err = strict.DecodeString(parts[5]); err != nil || len(h.sum) < minKey || len(h.sum) > maxKey {
		return nil, fmt.Errorf("an argon2id hash ends with %d to %d bytes in base64 without padding", minKey, maxKey)
	}
	h.key = uint32(len(h.sum))
	return h, nil
}
