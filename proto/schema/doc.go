// Package schema says whether the body of a request is well-formed: the stage that validates, between authentication and
// authorization.
//
// [New] builds a [Validator] for one route, which [Validator.Evaluate] evaluates. It looks at three things, each only if the one
// before held: whether the body is there, whole, and of a content type that the route accepts (form.go); whether JSON is JSON,
// of bounded structure, and can be read in one way only (structure.go); and whether it is what the route's [Schema] says, which [Compile] made
// once for all routes: the frames of gRPC (frames.go), a message's size in memory (wire.go), and its constraints (message.go).
//
// What the package guarantees:
//
//   - A body that is missing, cut, too long, compressed, or of another type than the route accepts is never valid.
//   - A valid body of JSON has one reading: no name twice in an object, no bytes that are not UTF-8, no half of a surrogate
//     pair, and nothing behind the value. What reads it afterwards can rely on its depth and its number of values.
//   - A message of gRPC is one whose frame says the truth, whose compression has one reading, and of which every constraint of the
//     schema was evaluated. A constraint that cannot be compiled is an error of [Compile], and one that cannot be evaluated refuses.
//   - Nothing is allocated by what a body says of its own size. The scan of JSON needs no memory but for names; a message is
//     measured before it is built.
//   - No violation's field or rule, no detail and no error holds a value of a body, or the name of a member. A violation's message
//     may where the schema's author has written it so: it is for the caller.
//
// It deliberately knows neither gRPC's library nor Envoy, and reads no file.
package schema
