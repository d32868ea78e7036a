package expression

import (
	"fmt"
	"slices"
	"strings"
)

// singleValued are the request headers that are one value though it may hold a comma: dates (RFC 9110, section
// 5.6.7), comments (section 5.6.5), addresses and URIs (sections 10.1.2 and 10.1.3), and cookies, whose
// servers send commas though RFC 6265 forbids them. Every other header with a comma in it is read as a
// list (section 5.3). Authorization is not one of them: a comma may join two credentials there.
var singleValued = []string{
	"cookie", "date", "expires", "from", "if-modified-since", "if-range", "if-unmodified-since",
	"last-modified", "referer", "user-agent",
}

// header returns the one value of a header. Names are compared in lower case (RFC 9110, section 5.1).
func header(s scope, key string) (string, bool, error) {
	name := strings.ToLower(key)
	value, count := s.req.Headers.Get(name)
	switch {
	case count == 0:
		return "", false, nil
	case count > 1, strings.IndexByte(value, ',') >= 0 && !slices.Contains(singleValued, name):
		return "", true, readingError(fmt.Sprintf("header %q has several values; use request.header_values", name))
	}
	return value, true, nil
}

// headerValues returns every value of a header: its lines, split at commas, without the white space around
// them and without empty ones (RFC 9110, section 5.6.1.2).
func headerValues(s scope, key string) ([]string, bool) {
	name := strings.ToLower(key)
	values, found := []string{}, false
	for i := range s.req.Headers {
		if s.req.Headers[i].Name != name {
			continue
		}
		found = true
		if slices.Contains(singleValued, name) {
			values = append(values, s.req.Headers[i].Value)
			continue
		}
		for value := range strings.SplitSeq(s.req.Headers[i].Value, ",") {
			if value = strings.Trim(value, " \t"); value != "" {
				values = append(values, value)
			}
		}
	}
	return values, found
}

func headerNames(s scope) []string {
	names := make([]string, 0, len(s.req.Headers))
	for i := range s.req.Headers {
		names = append(names, s.req.Headers[i].Name)
	}
	slices.Sort(names)
	return slices.Compact(names)
}
