package suite

import (
	"github.com/kasbah-authz/kasbah/policy"
)

// ParseQuestion reads a file with one principal and one request, written as in a case of a suite:
//
//	principal: {id: alice, roles: [reader]}   # or: anonymous
//	request: GET /orders/7                    # or a mapping
//	now: 2026-01-01T12:00:00Z                 # optional
//
// The findings are sorted by position; each is an error, and with one the request and the principal are nil.
func ParseQuestion(file string, data []byte) (*policy.Request, *policy.Principal, policy.Findings) {
	r := &reader{file: file, now: defaultTime}
	req, principal := r.question(data)
	if len(r.findings) == 0 {
		return req, principal, nil
	}
	r.findings.Sort()
	return nil, nil, r.findings
}

func (r *reader) question(data []byte) (*policy.Request, *policy.Principal) {
	root := r.parse(data)
	if root == nil {
		return nil, nil
	}
	f := r.fields(root, "a question", "principal", "request", "now")
	if f == nil {
		return nil, nil
	}
	if node := f["now"]; node != nil {
		r.now = r.time(node)
	}
	r.shared(f)
	for _, name := range []string{"principal", "request"} {
		if f[name] == nil {
			r.errorf(root, "the file has no %s", name)
		}
	}
	if f["principal"] == nil || f["request"] == nil {
		return nil, nil
	}
	return r.request(f["request"]), r.principal(f["principal"])
}
