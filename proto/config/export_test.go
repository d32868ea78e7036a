package config

// What the tests see of the inside.
var (
	FillDefaults = fillDefaults
	Distance     = distance
	Nearest      = nearest
)

// The bounds.
const (
	MaxBytes    = maxBytes
	MaxFindings = maxFindings
)
