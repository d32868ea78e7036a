// Package signature reads and verifies HTTP Message Signatures (RFC 9421) and Content-Digest (RFC 9530).
//
// It is given the parts of a request as their edge saw them, and says of a signature what it covers. It has no opinion on who may
// sign, on what must be covered, and on times; and no cache.
//
// A text is read in its canonical form alone (RFC 8941, section 4.1), so that what was signed, what is compared and what was sent is
// one text. Whatever is not known here, be it a component, a parameter or an algorithm, is an error and is never passed over.
package signature

import (
	"errors"
	"fmt"
	"slices"
)

const (
	// maxHeader is the longest Signature-Input, Signature or Content-Digest, in bytes.
	maxHeader = 8 << 10
	// maxSignatures is how many signatures a request may have, and maxComponents what each may cover.
	maxSignatures = 8
	maxComponents = 100
	// maxSignature is the longest signature, in bytes: RSA with 8192 bits.
	maxSignature = 1024
)

// Signature is one of a request, as its sender describes it.
type Signature struct {
	Label string
	// KeyID, Algorithm, Nonce and Tag are empty where the sender does not say.
	KeyID, Algorithm, Nonce, Tag string
	// Created and Expires are seconds since 1970; HasCreated and HasExpires say whether they are there.
	Created, Expires       int64
	HasCreated, HasExpires bool
	// Value is the signature itself.
	Value []byte

	components []component
	params     string // what is signed last: the components and parameters as they were sent
}

// component is one part of the request that is covered.
type component struct {
	text  string // as it was sent, with its parameter
	name  string // of a header in lower case, or of what is derived, with an @
	param string // empty, "bs" or "name"
	value string // of name
}

// Covers reports whether a header, or a derived component, is covered as a whole and as it is.
func (s *Signature) Covers(name string) bool {
	return slices.ContainsFunc(s.components, func(c component) bool { return c.name == name && (c.param == "" || c.param == "bs") })
}

// Read reads the values of the two headers, of which a request has one each. The error has no text of them.
func Read(input, signature string) ([]Signature, error) {
	if len(input) > maxHeader || len(signature) > maxHeader {
		return nil, fmt.Errorf("a header of signatures is longer than %d bytes", maxHeader)
	}
	var all []Signature
	s := scanner{text: input}
	err := s.dictionary(maxSignatures, func(label string) error {
		one, err := s.signature()
		one.Label = label
		all = append(all, one)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("the Signature-Input: %w", err)
	}
	s = scanner{text: signature}
	found := 0
	err = s.dictionary(maxSignatures, func(label string) error {
		i := slices.IndexFunc(all, func(one Signature) bool { return one.Label == label })
		if i < 0 {
			return errors.New("a signature that the Signature-Input does not describe")
		}
		found++
		all[i].Value, err = s.bytes(maxSignature)
		return err
	})
	switch {
	case err != nil:
		return nil, fmt.Errorf("the Signature: %w", err)
	case found != len(all):
		return nil, errors.New("the Signature-Input describes a signature that is not there")
	}
	return all, nil
}

// signature reads the list of components and the parameters behind it.
func (s *scanner) signature() (Signature, error) {
	var one Signature
	start := s.at
	if err := s.components(&one); err != nil {
		return one, err
	}
	seen := map[string]bool{}
	for s.next(';') {
		name, err := s.key()
		if err != nil {
			return one, err
		}
		if seen[name] {
			return one, errors.New("a parameter is there twice")
		}
		seen[name] = true
		if !s.next('=') {
			return one, errors.New("a parameter has no value")
		}
		if err := s.parameter(&one, name); err != nil {
			return one, err
		}
	}
	one.params = s.text[start:s.at]
	return one, nil
}

func (s *scanner) parameter(one *Signature, name string) (err error) {
	switch name {
	case "created":
		one.Created, err = s.integer()
		one.HasCreated = true
	case "expires":
		one.Expires, err = s.integer()
		one.HasExpires = true
	case "keyid":
		one.KeyID, err = s.string()
	case "alg":
		one.Algorithm, err = s.string()
	case "nonce":
		one.Nonce, err = s.string()
	case "tag":
		one.Tag, err = s.string()
	default:
		return errors.New("a parameter that is not known")
	}
	return err
}

// components reads ("a" "b";bs "@query-param";name="c").
func (s *scanner) components(one *Signature) error {
	if !s.next('(') {
		return errors.New("no list of components")
	}
	for !s.next(')') {
		if len(one.components) > 0 && !s.next(' ') {
			return errors.New("no single space between two components")
		}
		if len(one.components) == maxComponents {
			return fmt.Errorf("more than %d components", maxComponents)
		}
		c, err := s.component()
		if err != nil {
			return err
		}
		if slices.ContainsFunc(one.components, func(other component) bool { return other.text == c.text }) {
			return errors.New("a component is covered twice")
		}
		one.components = append(one.components, c)
	}
	return nil
}

// component reads one. Of its parameters there is one at the most, so that what is covered twice is the same text twice.
func (s *scanner) component() (component, error) {
	start := s.at
	name, err := s.string()
	if err != nil {
		return component{}, err
	}
	c := component{name: name}
	if s.next(';') {
		if c.param, err = s.key(); err != nil {
			return component{}, err
		}
		if c.param == "name" {
			if !s.next('=') {
				return component{}, errors.New("the parameter name has no value")
			}
			if c.value, err = s.string(); err != nil {
				return component{}, err
			}
		}
	}
	c.text = s.text[start:s.at]
	return c, c.check()
}

// check refuses what is not known here: parts of structured fields (sf, key), trailers (tr), and the request of a response (req)
// among them.
func (c *component) check() error {
	switch c.name {
	case "@method", "@target-uri", "@authority", "@scheme", "@request-target", "@path", "@query":
		if c.param != "" {
			return errors.New("a derived component with a parameter")
		}
		return nil
	case "@query-param":
		if c.param != "name" {
			return errors.New("@query-param needs a name, and nothing else")
		}
		return nil
	}
	if !isFieldName(c.name) {
		return errors.New("a component that is not known")
	}
	if c.param != "" && c.param != "bs" {
		return errors.New("a header with a parameter that is not known")
	}
	return nil
}

// isFieldName reports whether it is the name of a header, in lower case (RFC 9110, section 5.6.2).
func isFieldName(name string) bool {
	for i := range len(name) {
		switch c := name[i]; {
		case 'a' <= c && c <= 'z', '0' <= c && c <= '9':
		case c == '!' || '#' <= c && c <= '\'' || c == '*' || c == '+' || c == '-' || c == '.' || '^' <= c && c <= '`' || c == '|' || c == '~':
		default:
			return false
		}
	}
	return name != ""
}
