// Package password verifies passwords against the hashes of a file as htpasswd writes it.
//
// It knows bcrypt and argon2id and nothing else: whatever a graphics card guesses by the billion (MD5, SHA, crypt) is no hash of a
// password, and a file with one is refused. A user who is not in the file costs as much as one who is.
package password

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

const (
	// maxUsers is how many users a file may have.
	maxUsers = 100_000
	// maxUser is the longest name of a user, in bytes.
	maxUser = 255
	// maxLine is the longest line of a file, in bytes.
	maxLine = 1024
)

// File has the hashes of a file. It is immutable, and safe for use by many goroutines at once. Its zero value knows nobody.
type File struct {
	users   map[string]*hash
	unknown *hash // what a user who is not in the file is verified against, to no avail
}

// Fault is what is wrong with a file, and where. Line and Column count from 1, the column in bytes.
type Fault struct {
	Line, Column int
	Err          error
}

// Error returns what is wrong, without the place. It has no text of the file.
func (f *Fault) Error() string { return f.Err.Error() }

// Unwrap returns what is wrong.
func (f *Fault) Unwrap() error { return f.Err }

// Read reads a file: a user, a colon and a hash on each line. Empty lines, and those that begin with #, say nothing. The error
// is a [*Fault].
func Read(data []byte) (*File, error) {
	f := &File{users: map[string]*hash{}}
	lines := map[string]int{}
	kinds := map[cost]int{}
	number := 0
	for line := range bytes.Lines(data) {
		number++
		text := strings.TrimSuffix(strings.TrimSuffix(string(line), "\n"), "\r")
		if text == "" || text[0] == '#' {
			continue
		}
		user, h, column, err := readLine(text)
		switch {
		case err != nil:
			return nil, &Fault{number, column, err}
		case f.users[user] != nil:
			return nil, &Fault{number, 1, fmt.Errorf("a second line of this user; the first is line %d", lines[user])}
		case len(f.users) == maxUsers:
			return nil, &Fault{number, 1, fmt.Errorf("more than %d users", maxUsers)}
		}
		f.users[user], lines[user] = h, number
		kinds[h.cost]++
	}
	if len(f.users) == 0 {
		return nil, &Fault{1, 1, errors.New("the file has no user")}
	}
	most := cost{}
	for kind, count := range kinds {
		if count > kinds[most] || count == kinds[most] && kind.work() > most.work() {
			most = kind
		}
	}
	f.unknown = most.dummy()
	return f, nil
}

// readLine reads one line. The column is where its fault is.
func readLine(line string) (user string, h *hash, column int, err error) {
	if len(line) > maxLine {
		return "", nil, maxLine + 1, fmt.Errorf("the line is longer than %d bytes", maxLine)
	}
	user, text, ok := strings.Cut(line, ":")
	if !ok {
		return "", nil, 1, errors.New("the line has no colon; it is a user, a colon and a hash")
	}
	if fault := checkUser(user); fault != nil {
		return "", nil, 1, fault
	}
	h, err = readHash(text)
	if err != nil {
		return "", nil, len(user) + 2, err
	}
	return user, h, 0, nil
}

// checkUser returns what no name of a user may be.
func checkUser(user string) error {
	switch {
	case user == "":
		return errors.New("the user has no name")
	case len(user) > maxUser:
		return fmt.Errorf("the user's name is longer than %d bytes", maxUser)
	case !utf8.ValidString(user):
		return errors.New("the user's name is not UTF-8")
	case strings.TrimSpace(user) != user:
		return errors.New("space stands around the user's name")
	case hasControl(user):
		return errors.New("the user's name has a control character")
	}
	return nil
}

// Has reports whether the file has a user.
func (f *File) Has(user string) bool { return f.users[user] != nil }

// Mark returns a text that changes with the user's line, for a key of a cache. It is the hash itself, and empty for nobody.
func (f *File) Mark(user string) string {
	if h := f.users[user]; h != nil {
		return h.text
	}
	return ""
}

// Verify reports whether it is the user's password. It takes as long for a user whom the file does not have as for most of
// those that it has: tens of milliseconds, and for argon2id up to 64 MiB.
func (f *File) Verify(user, password string) bool {
	h := f.users[user]
	if h == nil {
		h = f.unknown
	}
	if h == nil {
		return false
	}
	fits := h.fits(password)
	return fits && h != f.unknown
}
