package enforcer

// Derived reports whether the enforcer was made by changing another one.
func Derived(e *Enforcer) bool {
	return e.compiled != nil && (len(e.rules.pieces) != 1 || !e.rules.pieces[0].base || e.rules.pieces[0].start != 0 || e.compiled.removed != nil)
}
