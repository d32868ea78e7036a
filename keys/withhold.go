package keys

import (
	"fmt"
	"slices"
	"strings"

	"github.com/kasbah-authz/kasbah/policy"
)

// withheld is what the upstream must not see of a request.
type withheld struct {
	headers    []string
	cookies    []string
	parameters []string
	protocols  []string   // what the subprotocols of a WebSocket begin with
	forwarded  []location // headers that go on from their hops alone
}

// withhold returns the places of all of these providers, but those that one which accepted the caller forwards.
func withhold(providers, accepted []*Provider) *withheld {
	var forwarded locations
	for _, p := range accepted {
		if p.forward {
			forwarded = append(append(forwarded, p.from...), p.proofs...)
		}
	}
	w := &withheld{forwarded: slices.DeleteFunc(slices.Clone(forwarded), func(l location) bool { return l.hops == nil })}
	for _, p := range providers {
		for _, l := range slices.Concat(p.from, p.proofs) {
			if !slices.ContainsFunc(forwarded, func(f location) bool { return f.place == l.place && f.name == l.name }) {
				w.add(l)
			}
		}
	}
	return w
}

func (w *withheld) add(l location) {
	list := map[place]*[]string{inHeader: &w.headers, inCookie: &w.cookies, inQuery: &w.parameters, inWebSocketProtocol: &w.protocols}[l.place]
	if !slices.Contains(*list, l.name) {
		*list = append(*list, l.name)
	}
}

// from fills in what an accepted request must lose. The error is a refusal: what would be left of a header cannot go on.
func (w *withheld) from(req *policy.Request, outcome *policy.Outcome) error {
	outcome.Remove = w.headers
	for _, l := range w.forwarded {
		if !l.hops.trust(req.Source) {
			outcome.Remove = append(slices.Clone(outcome.Remove), l.name)
		}
	}
	if len(w.cookies) > 0 {
		if err := rewrite(req, outcome, "cookie", ";", "; ", func(pair string) bool {
			name, _, ok := cutCookie(pair)
			return ok && slices.Contains(w.cookies, name)
		}); err != nil {
			return err
		}
	}
	if len(w.protocols) > 0 {
		if err := rewrite(req, outcome, webSocketProtocol, ",", ", ", func(offer string) bool {
			return slices.ContainsFunc(w.protocols, func(prefix string) bool { return strings.HasPrefix(offer, prefix) })
		}); err != nil {
			return err
		}
	}
	for pair := range strings.SplitSeq(req.Query, "&") {
		if len(w.parameters) == 0 {
			break
		}
		written, _, _ := strings.Cut(pair, "=")
		if slices.ContainsFunc(w.parameters, func(name string) bool { return isParameter(written, name) }) {
			outcome.RemoveQuery = append(outcome.RemoveQuery, written)
		}
	}
	return nil
}

// rewrite takes the items that are ours out of a header that is a list of them.
func rewrite(req *policy.Request, outcome *policy.Outcome, header, separator, joint string, ours func(item string) bool) error {
	var kept []string
	found := false
	for _, h := range req.Headers {
		if h.Name != header {
			continue
		}
		for item := range strings.SplitSeq(h.Value, separator) {
			item = strings.Trim(item, " \t")
			if ours(item) {
				found = true
			} else if item != "" {
				kept = append(kept, item)
			}
		}
	}
	rest := strings.Join(kept, joint)
	switch {
	case !found:
	case rest == "":
		outcome.Remove = append(slices.Clone(outcome.Remove), header)
	case strings.ContainsFunc(rest, func(r rune) bool { return r < ' ' || r > '~' }):
		return fmt.Errorf("%w: the rest of the header %s is not printable ASCII, and it would have to be written anew", errMalformed, header)
	default:
		outcome.Set = append(outcome.Set, policy.Mutation{Name: header, Value: rest})
	}
	return nil
}
