package expression

// CompileIndirect compiles without the direct form, so that a test can hold the one against the other.
func CompileIndirect(source string) (*Expression, error) {
	checked, err := check(source)
	if err != nil {
		return nil, err
	}
	program, err := plan(checked)
	if err != nil {
		return nil, err
	}
	return &Expression{source: source, program: program}, nil
}

// IsDirect reports whether the expression is read without CEL.
func (e *Expression) IsDirect() bool { return e.direct != nil }

// VariableNames returns the names of all variables.
func VariableNames() []string {
	names := make([]string, len(variables))
	for i := range variables {
		names[i] = variables[i].name
	}
	return names
}
