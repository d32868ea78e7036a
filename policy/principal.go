package policy

import "time"

// Principal is the established identity of a caller. It is immutable and may be shared by many requests.
// The zero Principal is anonymous: nobody has said who is calling.
type Principal struct {
	// ID is the name that policies know the principal by; by default the subject.
	ID string
	// Provider is the configured provider that vouched for the principal.
	Provider string
	// Issuer and Subject are the token's own `iss` and `sub` (RFC 7519, section 4.1).
	Issuer, Subject string
	// Tenant is the customer, organisation or directory that the principal belongs to; empty where nothing says it.
	Tenant string
	// Roles and Scopes are those that the credential carries, not those that a policy adds.
	Roles, Scopes []string
	// Claims are the statements of the credential after it was verified; numbers are json.Number or float64.
	Claims map[string]any
	// Expires is when the credential stops being good; the zero time for one without an end.
	Expires time.Time
}

// anonymous is everybody of whom nothing is known yet.
var anonymous = &Principal{}

// Anonymous reports whether nobody has been authenticated.
func (p *Principal) Anonymous() bool { return p == nil || p.Provider == "" }
