package revoked

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// maxText is the longest text of a name or of windows that is read, in bytes.
const maxText = 32 << 10

var errText = errors.New("it is not what kasbah revoke writes")

// FormatName returns a name as a store has it: a list in JSON.
func FormatName(n Name) string { return format([]string{n.Claim, n.Issuer, n.Value}) }

// ParseName is the reverse.
func ParseName(text string) (Name, error) {
	var parts []string
	if len(text) > maxText || json.Unmarshal([]byte(text), &parts) != nil || len(parts) != 3 {
		return Name{}, errText
	}
	n := Name{parts[0], parts[1], parts[2]}
	return n, n.Check()
}

// FormatWindows returns windows as a store has them: a list in JSON of pairs of times (RFC 3339), empty for a zero time.
func FormatWindows(windows []Window) string {
	pairs := make([][2]string, len(windows))
	for i, w := range windows {
		pairs[i] = [2]string{formatTime(w.Before), formatTime(w.Until)}
	}
	return format(pairs)
}

// ParseWindows is the reverse. What it cannot read it returns as one window that withdraws everything for good, beside the
// error: somebody meant to withdraw something.
func ParseWindows(text string) ([]Window, error) {
	everything := []Window{{}}
	var pairs [][]string
	if len(text) > maxText || json.Unmarshal([]byte(text), &pairs) != nil {
		return everything, errText
	}
	if len(pairs) == 0 || len(pairs) > MaxWindows {
		return everything, fmt.Errorf("there are %d times, and there should be 1 to %d", len(pairs), MaxWindows)
	}
	windows := make([]Window, len(pairs))
	for i, pair := range pairs {
		if len(pair) != 2 {
			return everything, errText
		}
		for into, text := range map[*time.Time]string{&windows[i].Before: pair[0], &windows[i].Until: pair[1]} {
			if text == "" {
				continue
			}
			at, err := time.Parse(time.RFC3339, text)
			if err != nil || at.IsZero() {
				return everything, errText
			}
			*into = at.UTC()
		}
	}
	return Merge(windows), nil
}

func formatTime(at time.Time) string {
	if at.IsZero() {
		return ""
	}
	return at.UTC().Format(time.RFC3339Nano)
}

func format(value any) string {
	text, err := json.Marshal(value)
	if err != nil { // texts in lists always have one
		return ""
	}
	return string(text)
}
