package demo_test

import (
	"encoding/base64"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"golang.org/x/crypto/bcrypt"
)

const basicConfig = `server: {drain: 0s, log: {decisions: none}}
providers:
- name: users
  basic: {htpasswd: {file: users.htpasswd}, roles: [reader], users: [{name: alice, roles: [writer]}]}
routes:
- name: orders
  match: [{path: /orders/}]
  authenticate: [users]
  any_principal: true
  headers: {x-user: principal.id, x-roles: principal.roles}
`

// A user is let in with the password of the file as it is now, and the upstream sees none.
func TestBasic(t *testing.T) {
	hash := func(secret string) string {
		hash, err := bcrypt.GenerateFromPassword([]byte(secret), 10)
		if err != nil {
			t.Fatal(err)
		}
		return "alice:" + string(hash) + "\n"
	}
	g := newGateOf(t, os.DirFS("testdata/threats"), map[string]string{"kasbah.yaml": basicConfig, "users.htpasswd": hash("open sesame")})
	e := g.edge(t, "hardened", rawUpstream(t))
	try := func(user, secret string) (o *outcome) {
		t.Helper()
		// On a slow machine a hash takes longer than a request may wait. It goes on, and the next attempt finds what came of it.
		await(t, "the password to be hashed", func() bool {
			o = e.try(t, attack{target: "/orders/7"}.with("authorization: Basic "+base64.StdEncoding.EncodeToString([]byte(user+":"+secret))))
			return o.status != 503
		})
		return o
	}
	o := try("alice", "open sesame")
	mustBe(t, e, attack{target: "the password"}, o, 200)
	if !slices.Equal(slices.Concat(o.values("x-user"), o.values("x-roles")), []string{"alice", "reader,writer"}) || len(o.values("authorization")) != 0 {
		t.Errorf("the upstream sees %q", o.lines)
	}
	mustBe(t, e, attack{target: "another password"}, try("alice", "open sesamE"), 401)
	mustBe(t, e, attack{target: "another user"}, try("mallory", "open sesame"), 401)
	mustBe(t, e, attack{target: "none"}, e.try(t, attack{target: "/orders/7"}), 401)

	path := filepath.Join(g.folder, "users.htpasswd")
	for _, text := range []string{"alice:{SHA}VBPuJHI7uixaa6LQGWx4s+5GKNE=\n", hash("changed")} {
		if err := os.WriteFile(path+".next", []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(path+".next", path); err != nil {
			t.Fatal(err)
		}
		if text[6] == '{' {
			await(t, "the file to be refused", func() bool { return g.logged("users.htpasswd:1:7 finding=\"the hash is neither") })
			mustBe(t, e, attack{target: "with a file that was refused"}, try("alice", "open sesame"), 200)
		}
	}
	await(t, "the password to be changed", func() bool { return try("alice", "open sesame").status == 401 })
	mustBe(t, e, attack{target: "the new password"}, try("alice", "changed"), 200)
}
