package enforcer

// Derived reports whether the enforcer was made by changing another one.
func Derived(e *Enforcer) bool { return e.compiled != nil && e.compiled.Derived() }
