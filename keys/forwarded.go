package keys

import (
	"fmt"
	"strings"
)

// forwarded returns the certificate of one element of an X-Forwarded-Client-Cert header, counted from its end, where the
// nearest hop has put what it saw. The header is a list of elements with commas between them; an element is pairs with
// semicolons between them; a value may stand in double quotes, in which a backslash is before a quote or a backslash.
func forwarded(header string, fromEnd int) (string, error) {
	elements, err := splitForwarded(header)
	if err != nil {
		return "", fmt.Errorf("%w: x-forwarded-client-cert: %w", errMalformed, err)
	}
	if len(elements) < fromEnd {
		return "", errMissing
	}
	certificate, found := "", false
	for _, pair := range elements[len(elements)-fromEnd] {
		if !strings.EqualFold(pair.name, "cert") {
			continue
		}
		if found {
			return "", fmt.Errorf("%w: x-forwarded-client-cert: two certificates in one element", errMalformed)
		}
		certificate, found = pair.value, true
	}
	if certificate == "" {
		return "", fmt.Errorf("%w: x-forwarded-client-cert has no certificate: set_current_client_cert_details must have cert", errMissing)
	}
	return certificate, nil
}

type forwardedPair struct{ name, value string }

// splitForwarded reads the whole header, or nothing of it.
func splitForwarded(header string) ([][]forwardedPair, error) {
	elements := [][]forwardedPair{nil}
	for rest := header; ; {
		name, behind, ok := strings.Cut(rest, "=")
		if !ok || name == "" || strings.ContainsAny(name, ",;\"\\ ") {
			return nil, fmt.Errorf("a pair without a name")
		}
		value, behind, err := forwardedValue(behind)
		if err != nil {
			return nil, err
		}
		last := len(elements) - 1
		elements[last] = append(elements[last], forwardedPair{name, value})
		if behind == "" {
			return elements, nil
		}
		if behind[0] == ',' {
			elements = append(elements, nil)
		}
		rest = behind[1:]
	}
}

// forwardedValue reads one value. What is behind it is empty, or begins with the comma or semicolon that ends it.
func forwardedValue(text string) (value, behind string, err error) {
	if !strings.HasPrefix(text, `"`) {
		end := strings.IndexAny(text, ",;")
		if end < 0 {
			end = len(text)
		}
		if strings.ContainsAny(text[:end], `"\`) {
			return "", "", fmt.Errorf("a quote within a value that does not begin with one")
		}
		return text[:end], text[end:], nil
	}
	var unquoted strings.Builder
	for i := 1; i < len(text); i++ {
		switch text[i] {
		case '"':
			behind := text[i+1:]
			if behind != "" && behind[0] != ',' && behind[0] != ';' {
				return "", "", fmt.Errorf("text behind a quoted value")
			}
			return unquoted.String(), behind, nil
		case '\\':
			if i++; i == len(text) || text[i] != '"' && text[i] != '\\' {
				return "", "", fmt.Errorf("a backslash before neither a quote nor a backslash")
			}
		}
		unquoted.WriteByte(text[i])
	}
	return "", "", fmt.Errorf("a quote that does not end")
}
