package password

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	// maxPassword is the longest password that is looked at, in bytes.
	maxPassword = 1024
	// maxCredential is the longest credential, in bytes.
	maxCredential = (maxUser + 1 + maxPassword + 2) / 3 * 4
)

// Split returns the user and the password of a credential of the Basic scheme (RFC 7617, section 2), in UTF-8. The error has no
// text of it.
func Split(credential string) (user, password string, err error) {
	if len(credential) > maxCredential {
		return "", "", fmt.Errorf("a credential of %d bytes, longer than the %d that are read", len(credential), maxCredential)
	}
	if strings.ContainsAny(credential, "\r\n") { // which the decoder passes over
		return "", "", errors.New("no base64 with one reading")
	}
	data, err := base64.StdEncoding.Strict().DecodeString(credential)
	if err != nil {
		return "", "", errors.New("no base64 with one reading")
	}
	user, password, ok := strings.Cut(string(data), ":")
	switch {
	case !ok:
		return "", "", errors.New("no colon between user and password")
	case user == "" || len(user) > maxUser:
		return "", "", fmt.Errorf("a user's name has 1 to %d bytes", maxUser)
	case password == "" || len(password) > maxPassword:
		return "", "", fmt.Errorf("a password has 1 to %d bytes", maxPassword)
	case !utf8.Valid(data):
		return "", "", errors.New("user and password are not UTF-8")
	case hasControl(user), hasControl(password):
		return "", "", errors.New("a control character in user or password")
	}
	return user, password, nil
}

// hasControl reports whether a text has a character that RFC 7617, section 2, refuses.
func hasControl(text string) bool { return strings.ContainsFunc(text, unicode.IsControl) }
