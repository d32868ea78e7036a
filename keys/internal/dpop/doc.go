// Package dpop judges proofs of possession (DPoP, RFC 9449) that were read already: what a proof says is held against the request
// that it came with and the token that it is for.
//
// It has the parts that need nothing of tokens: the comparison of targets (target.go), the thumbprint of a key (thumbprint.go),
// nonces (nonce.go) and the claims (proof.go). Reading a proof and verifying its signature are the caller's.
package dpop
