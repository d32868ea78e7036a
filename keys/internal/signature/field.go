package signature

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// scanner reads those structured fields that signatures are made of (RFC 8941), and each in one spelling only.
type scanner struct {
	text string
	at   int
}

// next steps over c if it comes next.
func (s *scanner) next(c byte) bool {
	if s.at < len(s.text) && s.text[s.at] == c {
		s.at++
		return true
	}
	return false
}

// spaces steps over spaces and tabs.
func (s *scanner) spaces() {
	for s.next(' ') || s.next('\t') {
	}
}

// dictionary reads members until the text ends: a key, "=", and what the function reads. No key may come twice. Space around
// a comma does not count, because a proxy that joins headers writes its own.
func (s *scanner) dictionary(most int, member func(key string) error) error {
	seen := make(map[string]bool, 2)
	for {
		key, err := s.key()
		if err != nil {
			return err
		}
		switch {
		case seen[key]:
			return errors.New("a member is there twice")
		case len(seen) == most:
			return fmt.Errorf("more than %d members", most)
		case !s.next('='):
			return errors.New("a member has no value")
		}
		seen[key] = true
		if err := member(key); err != nil {
			return err
		}
		if s.at == len(s.text) {
			return nil
		}
		s.spaces()
		if !s.next(',') {
			return errors.New("something else stands behind a member")
		}
		s.spaces()
	}
}

// key reads the name of a member or of a parameter (RFC 8941, section 3.1.2).
func (s *scanner) key() (string, error) {
	start := s.at
	for ; s.at < len(s.text); s.at++ {
		c := s.text[s.at]
		first := 'a' <= c && c <= 'z' || c == '*'
		if !first && (s.at == start || !('0' <= c && c <= '9' || c == '_' || c == '-' || c == '.')) {
			break
		}
	}
	if s.at == start {
		return "", errors.New("no name where one is due")
	}
	return s.text[start:s.at], nil
}

// string reads a string (section 3.3.3).
func (s *scanner) string() (string, error) {
	if !s.next('"') {
		return "", errors.New("no string where one is due")
	}
	var b strings.Builder
	for s.at < len(s.text) {
		c := s.text[s.at]
		s.at++
		switch {
		case c == '"':
			return b.String(), nil
		case c == '\\':
			if s.at == len(s.text) || s.text[s.at] != '"' && s.text[s.at] != '\\' {
				return "", errors.New("a backslash that escapes nothing")
			}
			c = s.text[s.at]
			s.at++
		case c < ' ' || c > '~':
			return "", errors.New("a string holds a byte that is not printable ASCII")
		}
		b.WriteByte(c)
	}
	return "", errors.New("a string does not end")
}

// integer reads a number that is not negative (section 3.3.1), without leading zeros.
func (s *scanner) integer() (int64, error) {
	start := s.at
	for s.at < len(s.text) && '0' <= s.text[s.at] && s.text[s.at] <= '9' {
		s.at++
	}
	digits := s.text[start:s.at]
	if digits == "" || len(digits) > 15 || len(digits) > 1 && digits[0] == '0' {
		return 0, errors.New("no number where one is due")
	}
	return strconv.ParseInt(digits, 10, 64)
}

// bytes reads a sequence of bytes (section 3.3.5), in padded base64 without unused bits.
func (s *scanner) bytes(most int) ([]byte, error) {
	if !s.next(':') {
		return nil, errors.New("no bytes where they are due")
	}
	end := strings.IndexByte(s.text[s.at:], ':')
	if end < 0 || base64.StdEncoding.DecodedLen(end) > most+2 {
		return nil, fmt.Errorf("bytes that do not end, or more than %d of them", most)
	}
	text := s.text[s.at : s.at+end]
	s.at += end + 1
	if strings.ContainsAny(text, "\r\n") { // which the decoder passes over
		return nil, errors.New("no base64 with one reading")
	}
	data, err := base64.StdEncoding.Strict().DecodeString(text)
	if err != nil || len(data) == 0 || len(data) > most {
		return nil, errors.New("no base64 with one reading")
	}
	return data, nil
}
