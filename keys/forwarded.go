package keys

import (
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/kasbah-authz/kasbah/policy"
	configv1 "github.com/kasbah-authz/kasbah/proto/kasbah/config/v1"
)

// maxElements is how many elements of the header are read. A proxy that appends keeps what its client wrote.
const maxElements = 100

// forwardedHeader is where proxies write what certificates their clients showed. Its form is Envoy's own.
const forwardedHeader = "x-forwarded-client-cert"

// hops are the proxies that are trusted with that header.
type hops struct {
	addresses  []netip.Prefix // none: any
	principals []string       // none: any
	element    int            // whose element is the caller's, from the right, 1 for the last
}

// trust reports whether the other end of the connection is such a proxy.
func (h *hops) trust(peer policy.Peer) bool {
	return (len(h.addresses) == 0 || within(h.addresses, peer.Address)) &&
		(len(h.principals) == 0 || slices.Contains(h.principals, peer.Principal))
}

// read returns the caller's element. Where there are fewer, the outermost proxy had a client without a certificate.
func (h *hops) read(headers policy.Headers) (*forwardedElement, error) {
	text, lines := headers.Get(forwardedHeader)
	switch {
	case lines == 0:
		return nil, errMissing
	case lines > 1:
		return nil, fmt.Errorf("%w: %d headers %s where one is meant", errMalformed, lines, forwardedHeader)
	case len(text) > maxCertificate:
		return nil, fmt.Errorf("%w: a header %s of %d bytes, longer than the %d that are read", errMalformed, forwardedHeader, len(text), maxCertificate)
	}
	elements, err := parseForwarded(text)
	if err != nil {
		return nil, err
	}
	if len(elements) < h.element {
		return nil, errMissing
	}
	return elements[len(elements)-h.element], nil
}

// forwardedElement is what one proxy says of its client.
type forwardedElement struct {
	text              string
	hash, cert, chain string
	uris, dns         []string

	hasHash, hasCert, hasChain, hasSubject bool
}

// parseForwarded reads the header: elements with commas between them, in which pairs stand with semicolons between them. A value
// may be quoted, and then a backslash takes the next byte's meaning away. Every element is read, so that no open quote in one
// that the client wrote reaches into those of the proxies.
func parseForwarded(text string) ([]*forwardedElement, error) {
	var elements []*forwardedElement
	element, start := &forwardedElement{}, 0
	for at := 0; ; at++ {
		equals := strings.IndexByte(text[at:], '=')
		if equals < 0 {
			return nil, forwardedFault("a pair without a value")
		}
		key := text[at : at+equals]
		value, length, err := forwardedValue(text[at+equals+1:])
		if err != nil {
			return nil, err
		}
		if err := element.add(strings.ToLower(key), value); err != nil {
			return nil, err
		}
		at += equals + 1 + length
		if at < len(text) && text[at] == ';' {
			continue
		}
		element.text = text[start:at]
		elements = append(elements, element)
		if at == len(text) {
			return elements, nil
		}
		if len(elements) == maxElements {
			return nil, forwardedFault(fmt.Sprintf("more than the %d elements that are read", maxElements))
		}
		element, start = &forwardedElement{}, at+1 // behind a comma
	}
}

// forwardedValue reads one value, and returns the length that it has with its quotes. What follows it is its end, a comma or a
// semicolon.
func forwardedValue(text string) (value string, length int, err error) {
	quoted := strings.HasPrefix(text, `"`)
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c < ' ' || c > '~':
			return "", 0, forwardedFault("a byte that is not printable ASCII")
		case quoted && i > 0 && c == '\\':
			i++
		case quoted && i > 0 && c == '"':
			if rest := text[i+1:]; rest != "" && rest[0] != ',' && rest[0] != ';' {
				return "", 0, forwardedFault("something behind a quoted value")
			}
			return text[1:i], i + 1, nil
		case quoted:
		case c == ',' || c == ';':
			return text[:i], i, nil
		case c == '"' || c == '\\' || c == ' ':
			return "", 0, forwardedFault("a byte that must be in quotes")
		}
	}
	if quoted {
		return "", 0, forwardedFault("a quote that does not end")
	}
	return text, len(text), nil
}

// add takes a pair. A proxy or a client with several URIs or DNS names has a pair for each; the others stand alone.
func (e *forwardedElement) add(key, value string) error {
	if key != "subject" && strings.ContainsRune(value, '\\') {
		return forwardedFault("a backslash in a value that is no subject")
	}
	var again bool
	switch key {
	case "by":
	case "subject":
		again, e.hasSubject = e.hasSubject, true
	case "hash":
		again, e.hasHash, e.hash = e.hasHash, true, strings.ToLower(value)
	case "cert":
		again, e.hasCert, e.cert = e.hasCert, true, value
	case "chain":
		again, e.hasChain, e.chain = e.hasChain, true, value
	case "uri":
		if value != "" { // which Envoy writes where there is none
			e.uris = append(e.uris, value)
		}
	case "dns":
		if value != "" {
			e.dns = append(e.dns, value)
		}
	default:
		return forwardedFault("a key that is none of By, Hash, Cert, Chain, Subject, URI and DNS")
	}
	if again {
		return forwardedFault("two pairs of one key")
	}
	return nil
}

// certificate returns what the element says of the client's certificate. Where it says a thing twice, both must agree: a name
// that has the header's own punctuation in it would otherwise become another name.
func (e *forwardedElement) certificate() (*shown, error) {
	if digest, err := hex.DecodeString(e.hash); e.hasHash && (err != nil || len(digest) != 32) {
		return nil, forwardedFault("a Hash that is no SHA-256 in hexadecimal")
	}
	if !e.hasCert {
		if e.hasChain {
			return nil, forwardedFault("a Chain without a Cert")
		}
		return &shown{uris: cloned(e.uris), dns: cloned(e.dns), fingerprint: strings.Clone(e.hash)}, nil
	}
	list, err := readCertificates(e.cert)
	if err != nil {
		return nil, err
	}
	if len(list) != 1 {
		return nil, forwardedFault("more than one certificate in Cert")
	}
	s, err := show(list[0])
	switch {
	case err != nil:
		return nil, err
	case e.hasHash && e.hash != s.fingerprint:
		return nil, forwardedFault("a Hash that is not that of the Cert")
	case len(e.uris) > 0 && !slices.Equal(e.uris, s.uris), len(e.dns) > 0 && !slices.Equal(e.dns, s.dns):
		return nil, forwardedFault("names that are not those of the Cert")
	}
	if e.hasChain {
		if s.chain, err = readCertificates(e.chain); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// cloned copies texts out of the request, whose memory must not be kept with what is remembered.
func cloned(texts []string) []string {
	for i := range texts {
		texts[i] = strings.Clone(texts[i])
	}
	return texts
}

func forwardedFault(what string) error {
	return fmt.Errorf("%w: the header %s has %s", errMalformed, forwardedHeader, what)
}

// newHops reads who is trusted with the header.
func newHops(message *configv1.ForwardedCertificate) (*hops, error) {
	const field = "client_certificate.forwarded"
	h := &hops{principals: slices.Clone(message.GetPrincipals()), element: max(1, int(message.GetElement()))}
	for i, text := range message.GetAddresses() {
		block, err := readBlock(text)
		if err != nil {
			return nil, &policy.FieldError{Field: fmt.Sprintf("%s.addresses[%d]", field, i), Err: err}
		}
		h.addresses = append(h.addresses, block)
	}
	if len(h.addresses)+len(h.principals) == 0 || slices.Contains(h.principals, "") {
		return nil, &policy.FieldError{Field: field, Err: errors.New("say who is trusted with the header: addresses, principals, or both")}
	}
	return h, nil
}

// within reports whether an address is in one of the blocks.
func within(blocks []netip.Prefix, address string) bool {
	ip, err := netip.ParseAddr(address)
	if err != nil {
		return false
	}
	ip = ip.Unmap().WithZone("")
	return slices.ContainsFunc(blocks, func(block netip.Prefix) bool { return block.Contains(ip) })
}
