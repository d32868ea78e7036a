package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/kasbah-authz/kasbah/demo"
)

// startPatience bounds the start of the demo. Envoy may have to be downloaded first.
const startPatience = 10 * time.Minute

// demoFolder is where the checkout has the demo's files.
const demoFolder = "testdata/demo"

func runDemo(ctx context.Context, args []string, std streams) int {
	if len(args) > 0 && (args[0] == "issuer" || args[0] == "upstream") {
		return demoPart(ctx, args[0], args[1:], std)
	}
	flags := flag.NewFlagSet("kasbah demo", flag.ContinueOnError)
	once := flags.Bool("once", false, "send a table of requests through Envoy, print the verdicts, and end with 0 or 1")
	folder := flags.String("folder", "", "the `folder` with kasbah.yaml; default "+demoFolder+" where that is, else ./kasbah-demo, which is made")
	listen := flags.String("listen", "127.0.0.1:10000", "the `address` of Envoy")
	admin := flags.String("admin", "127.0.0.1:9192", "the `address` of Kasbah's admin service")
	verbose := flags.Bool("v", false, "print the logs of Kasbah and Envoy")
	flags.Usage = func() {
		fmt.Fprint(std.err, "Usage: kasbah demo [FLAGS]\n       kasbah demo issuer|upstream [FLAGS]\n\n")
		flags.PrintDefaults()
	}
	if code, ok := parseAlone(flags, args, std); !ok {
		return code
	}
	options := demo.Options{Folder: *folder, Envoy: *listen, Admin: *admin, Progress: std.err}
	if *verbose || !*once {
		options.Log = std.err
	}
	run := demoUntilEnd
	if *once {
		run = demoOnce
	}
	exit, err := run(ctx, options, std)
	if err != nil {
		fmt.Fprintln(std.err, "kasbah demo:", err)
		return exitFindings
	}
	return exit
}

// demoOnce runs the table of requests. It works on a copy of the files, because it edits the policy, and on free
// ports, so that it runs beside anything.
func demoOnce(ctx context.Context, options demo.Options, std streams) (_ int, err error) {
	temporary, err := os.MkdirTemp("", "kasbah-demo-")
	if err != nil {
		return exitFindings, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(temporary)) }()
	if options.Folder != "" {
		if err = os.CopyFS(temporary, os.DirFS(options.Folder)); err != nil {
			err = fmt.Errorf("copying the files of %s: %w", options.Folder, err)
		}
	} else {
		err = demo.CopyFiles(temporary)
	}
	if err != nil {
		return exitFindings, err
	}
	options.Folder, options.Envoy, options.Admin = temporary, "", ""
	system, err := startDemo(ctx, options)
	if err != nil {
		return exitFindings, err
	}
	good, err := system.Try(ctx, std.out)
	if err = errors.Join(err, system.Stop()); err != nil || !good {
		return exitFindings, err
	}
	return exitOK, nil
}

// demoUntilEnd prints what there is to try and stays up.
func demoUntilEnd(ctx context.Context, options demo.Options, std streams) (int, error) {
	if options.Folder == "" {
		options.Folder = demoFolder
		if _, err := os.Stat(filepath.Join(demoFolder, "kasbah.yaml")); err != nil {
			options.Folder = "kasbah-demo"
			if err := demo.CopyFiles(options.Folder); err != nil {
				return exitFindings, err
			}
		}
	}
	system, err := startDemo(ctx, options)
	if err != nil {
		return exitFindings, err
	}
	introduce(std.out, system, options.Folder)
	select {
	case <-ctx.Done():
	case <-system.Done():
		err = errors.New("envoy ended")
	}
	return exitOK, errors.Join(err, system.Stop())
}

func startDemo(ctx context.Context, options demo.Options) (*demo.System, error) {
	ctx, cancel := context.WithTimeout(ctx, startPatience)
	defer cancel()
	return demo.Start(ctx, options)
}

func introduce(w io.Writer, system *demo.System, folder string) {
	envoy := "http://" + system.EnvoyAddr()
	fmt.Fprintf(w, `
Envoy listens on %[1]s and asks Kasbah about every request. Try, in another terminal:

  ALICE=%[2]s
  ADMIN=%[3]s

  curl -i %[1]s/healthz                                          # public: 200
  curl -i %[1]s/orders/7                                         # no credential: 401
  curl -i -H "Authorization: Bearer $ALICE" %[1]s/orders/7       # alice may read: 200
  curl -i -H "Authorization: Bearer $ALICE" -X DELETE %[1]s/orders/7   # and not delete: 403
  curl -i -H "Authorization: Bearer $ADMIN" -X DELETE %[1]s/orders/7   # a role in the token: 200

More tokens:  curl 'http://%[4]s/token?sub=bob&roles=admin'
Metrics:      curl http://%[5]s/metrics

Now edit %[6]s, say delete the line "g, alice, reader", and send a request again.
Ctrl-C ends all of it.

`, envoy, system.Token("alice"), system.Token("carol", "admin"), system.IssuerAddr(), system.AdminAddr(), filepath.Join(folder, "policy.csv"))
}

// demoPart runs one part alone, for docker-compose.
func demoPart(ctx context.Context, part string, args []string, std streams) int {
	flags := flag.NewFlagSet("kasbah demo "+part, flag.ContinueOnError)
	listen := flags.String("listen", "127.0.0.1:0", "the `address` to listen on")
	if code, ok := parseAlone(flags, args, std); !ok {
		return code
	}
	service := demo.Upstream()
	if part == "issuer" {
		var err error
		if service, err = demo.Issuer(); err != nil {
			fmt.Fprintln(std.err, "kasbah demo issuer:", err)
			return exitFindings
		}
	}
	service.Addr = *listen
	ended := context.AfterFunc(ctx, func() { _ = service.Close() })
	defer ended()
	if err := service.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		fmt.Fprintf(std.err, "kasbah demo %s: %v\n", part, err)
		return exitFindings
	}
	return exitOK
}
