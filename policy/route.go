package policy

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
)

// Route says which requests it is for and what is done with them.
type Route struct {
	Name    string
	Matches []Match
	// Stages are evaluated in order. A route without any denies.
	Stages []Stage
	// Headers are injected into the request on an allow. Their names are lower case.
	Headers []Injection
	// Query are query parameters to set on an allow; the client's own of those names are removed.
	Query []Injection
	// Response are headers to set on the upstream's response, on an allow.
	Response []Injection
}

// Match is one set of requests: those that satisfy all three. The zero Match is every request.
type Match struct {
	// Host is "api.example.com", "*.example.com" for every host below it, or empty for any.
	Host string
	// Path is a pattern in the grammar of Go's net/http: "/orders/{id}", "/files/{rest...}", "/exact/{$}",
	// and with a slash at its end, everything below. Empty is any path.
	Path string
	// Methods are matched exactly; none is any method. Unlike in net/http, GET does not include HEAD.
	Methods []string
}

// Injection computes one value from a request and the principal that was established. Where the value
// is absent, ok is false and the header is removed rather than left to the client.
type Injection struct {
	Name  string
	Value func(req *Request, principal *Principal) (value string, ok bool, err error)
}

// maxInjected is the longest header or query value that is injected, in bytes.
const maxInjected = 4 << 10

// mutate fills in what an allowed request carries upstream. Every header that any route injects ends up
// either set by us or removed, and so does every spelling of it that a reader might take for it.
func (p *Pipeline) mutate(d *Decision, route *Route, req *Request) error {
	set, err := evaluate(route.Headers, req, d.Principal)
	if err != nil {
		return err
	}
	if d.Query, err = evaluate(route.Query, req, d.Principal); err != nil {
		return err
	}
	response, err := evaluate(route.Response, req, d.Principal)
	if err != nil {
		return err
	}
	spoofed, err := spoofedQuery(route.Query, d.Query, req.Query)
	if err != nil {
		return err
	}
	d.RemoveQuery = slices.DeleteFunc(d.RemoveQuery, func(name string) bool { return isSet(d.Query, name) })
	d.RemoveQuery = append(d.RemoveQuery, spoofed...)
	set = merge(set, d.Set)
	d.Set, d.Response = set, merge(response, d.Response)
	for _, name := range p.owned {
		if !isSet(set, name) {
			d.Remove = append(d.Remove, name)
		}
		d.Remove = append(d.Remove, req.Headers.aliases(name)...)
	}
	// Whoever wanted it removed, what is set stays: Envoy removes after it sets.
	d.Remove = slices.DeleteFunc(d.Remove, func(name string) bool { return isSet(set, name) })
	return nil
}

// spoofedQuery returns the client's parameters that an upstream could take for those that the route sets, as they
// are written in the query: other spellings of a name always, the name itself where it is not set.
func spoofedQuery(injections []Injection, set []Mutation, query string) ([]string, error) {
	if len(injections) == 0 || query == "" {
		return nil, nil
	}
	if strings.Contains(query, ";") { // some readers begin a new parameter there
		return nil, &StageError{InvalidRequest, errors.New("the query holds a semicolon, which is read in different ways")}
	}
	var spoofed []string
	for parameter := range strings.SplitSeq(query, "&") {
		written, _, _ := strings.Cut(parameter, "=")
		name, err := url.QueryUnescape(written)
		if err != nil {
			return nil, &StageError{InvalidRequest, errors.New("the query holds a percent sign that encodes nothing")}
		}
		owned := slices.ContainsFunc(injections, func(i Injection) bool { return i.Name == name })
		if owned && (written != name || !isSet(set, name)) {
			spoofed = append(spoofed, written)
		}
	}
	return spoofed, nil
}

// merge adds to what the route sets what its stages do.
func merge(set, stages []Mutation) []Mutation {
	for _, m := range stages {
		if !isSet(set, m.Name) {
			set = append(set, m)
		}
	}
	return set
}

func isSet(set []Mutation, name string) bool {
	for i := range set {
		if set[i].Name == name {
			return true
		}
	}
	return false
}

func evaluate(injections []Injection, req *Request, principal *Principal) ([]Mutation, error) {
	if len(injections) == 0 {
		return nil, nil
	}
	set := make([]Mutation, 0, len(injections))
	for _, injection := range injections {
		value, ok, err := injection.Value(req, principal)
		if err != nil {
			return nil, &StageError{PolicyError, fmt.Errorf("evaluating %s: %w", injection.Name, err)}
		}
		if !ok {
			continue
		}
		if err := checkInjected(value); err != nil {
			return nil, &StageError{PolicyError, fmt.Errorf("evaluating %s: %w", injection.Name, err)}
		}
		set = append(set, Mutation{injection.Name, value})
	}
	return set, nil
}

// checkInjected refuses a value that could end its header line, or that two readers could read two ways. A
// token may carry any text in its claims, and what its issuer lets through must not become a second header.
func checkInjected(value string) error {
	if len(value) > maxInjected {
		return fmt.Errorf("a value of %d bytes is longer than the %d that are injected", len(value), maxInjected)
	}
	for i := range len(value) {
		if c := value[i]; c < 0x20 || c > 0x7e {
			return fmt.Errorf("byte %d of the value is 0x%02x, and only printable ASCII is injected", i, c)
		}
	}
	if strings.TrimSpace(value) != value {
		return fmt.Errorf("the value begins or ends with a space, which the next hop would drop")
	}
	return nil
}
