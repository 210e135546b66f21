//go:build linux

// Command cluster runs a Kubernetes cluster on this machine, as root, for as long as its standard input is open:
//
//	cluster -programs DIR -pause LAYOUT [-image NAME=LAYOUT]... -logs DIR NODE...
//
// etcd, the apiserver, the controller manager, the scheduler, and for each node containerd and a kubelet are those of build.sh; runc and
// mount must be on the PATH. Images are OCI layouts whose one image has the tag "e2e". Pods must use the network of their host, and all
// servers listen on its loopback interface.
//
// Once pods can be made, it prints a line with the directory of its files, such as pki/admin.kubeconfig, and the pods' logs in NODE/pods.
// Then it carries out lines from standard input, and answers each with a line, "done" or an error:
//
//	stop-kubelet NODE      end the kubelet as a crash would; the node's containers go on
//	start-kubelet NODE
//
// When standard input ends, or when it is interrupted, it ends everything that it started, and removes everything that it made except the
// logs. The control plane and each node are namespaces whose first process ends with this one, even when it is killed; then only cgroups
// and the directory are left, and the next cluster removes them.
package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
)

// initArgument is the first argument of the first process in a namespace.
const initArgument = "init"

func main() {
	var err error
	if len(os.Args) == 3 && os.Args[1] == initArgument {
		err = runInit(os.Args[2])
	} else {
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
		defer stop()
		err = run(ctx, os.Args[1:], os.Stdin, os.Stdout)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "cluster:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, in io.Reader, out io.Writer) (err error) {
	o, err := parse(args)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	asked := make(chan string)
	go func() {
		lines := bufio.NewScanner(in)
		for lines.Scan() {
			asked <- lines.Text()
		}
		cancel(errInputEnded)
	}()
	c, err := startCluster(ctx, o)
	defer func() { err = errors.Join(err, c.end()) }()
	if err != nil {
		return fmt.Errorf("%w; logs are in %s", err, o.logs)
	}
	fmt.Fprintln(out, c.dir)
	for {
		select {
		case <-ctx.Done():
			if errors.Is(context.Cause(ctx), errInputEnded) {
				return nil
			}
			return context.Cause(ctx)
		case line := <-asked:
			what, which, _ := strings.Cut(line, " ")
			answer := "done"
			if err := c.do(what, which); err != nil {
				answer = err.Error()
			}
			fmt.Fprintln(out, answer)
		}
	}
}

// errInputEnded is the normal end.
var errInputEnded = errors.New("standard input has ended")

func parse(args []string) (options, error) {
	var o options
	flags := flag.NewFlagSet("cluster", flag.ContinueOnError)
	programs := flags.String("programs", "", "the directory of the programs")
	flags.StringVar(&o.logs, "logs", "", "the directory of the logs")
	flags.Func("pause", "the layout of program pause", func(layout string) error {
		o.images = append(o.images, image{pauseImage, layout})
		return nil
	})
	flags.Func("image", "the NAME=LAYOUT of an image", func(value string) error {
		name, layout, ok := strings.Cut(value, "=")
		if !ok {
			return errors.New("want NAME=LAYOUT")
		}
		o.images = append(o.images, image{name, layout})
		return nil
	})
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	o.nodes = flags.Args()
	if *programs == "" || o.logs == "" || len(o.images) == 0 || len(o.nodes) == 0 {
		return o, errors.New("want -programs, -logs, images and nodes")
	}
	if err := checkVisible(*programs, o.logs, os.TempDir()); err != nil {
		return o, err
	}
	return o, os.Setenv("PATH", *programs+":"+os.Getenv("PATH"))
}
