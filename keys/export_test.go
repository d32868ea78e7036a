package keys

// Merge and Lookup are how claims of a server are added, and how a path is followed.
var (
	Merge  = merge
	Lookup = lookup
)
