package password

import "fmt"

// Unknown says what verifying an unknown user costs.
func Unknown(f *File) string { return fmt.Sprintf("%+v", f.unknown.cost) }

// Cost says what verifying a known one costs.
func Cost(f *File, user string) string { return fmt.Sprintf("%+v", f.users[user].cost) }
