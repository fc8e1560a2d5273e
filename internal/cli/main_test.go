package cli_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	ossignal "os/signal"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/escale-dev/escale/internal/cli"
	"github.com/escale-dev/escale/internal/engine"
	"github.com/escale-dev/escale/internal/engine/control"
	"github.com/escale-dev/escale/internal/engine/enginetest"
	"github.com/escale-dev/escale/internal/release"
	"github.com/escale-dev/escale/internal/signal"
	"github.com/go-logr/logr"
	"github.com/rogpeppe/go-internal/testscript"
	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"escale": func() {
		ctx, stop := ossignal.NotifyContext(context.Background(), unix.SIGINT, unix.SIGTERM)
		defer stop()
		up := &cobra.Command{Use: "up", Short: "Start the platform", RunE: func(*cobra.Command, []string) error { return coded(7) }}
		run := &cobra.Command{Use: "run", Hidden: true, RunE: func(*cobra.Command, []string) error { return nil }}
		p := cli.Program{Version: "1.2.3", Commands: []*cobra.Command{up}, NodeCommands: []*cobra.Command{run}}
		os.Exit(p.Main(ctx, os.Args[1:]))
	}})
}

// coded is an error that has said everything and names its exit code.
type coded int

func (coded) Error() string   { return "not to be printed" }
func (c coded) ExitCode() int { return int(c) }

// commands are what the scripts have beside testscript's own.
var commands = map[string]func(ts *testscript.TestScript, neg bool, args []string){
	// code N COMMAND...: the command ends with exit code N.
	"code": func(ts *testscript.TestScript, _ bool, args []string) {
		err := ts.Exec(args[1], args[2:]...)
		var exit *exec.ExitError
		if !errors.As(err, &exit) || strconv.Itoa(exit.ExitCode()) != args[0] {
			ts.Fatalf("got %v, want exit code %s", err, args[0])
		}
	},
	// recorded DIR: a platform's data directory has two minutes of signals of the Deployment web in the namespace shop.
	"recorded": func(ts *testscript.TestScript, _ bool, args []string) {
		began := time.Now().Add(-2 * time.Minute)
		dir := engine.Dir(ts.MkAbs(args[0])).Signals()
		ts.Check(os.MkdirAll(dir, 0o700))
		f, err := os.Create(filepath.Join(dir, began.UTC().Format("20060102T150405.000Z")+".signals"))
		ts.Check(err)
		w := signal.NewWriter(f)
		for i := range 120 {
			at := began.Add(time.Duration(i) * time.Second)
			ts.Check(w.Add(signal.Workload{Kind: "Deployment", Namespace: "shop", Name: "web"}, &signal.Facts{At: at, TrafficAt: at, InFlight: 40, Pods: 1, Ready: 1}))
		}
		ts.Check(errors.Join(w.Flush(), f.Close()))
	},
	// doctor COMMAND...: the command ends with 0 or 1, as the machine is.
	"doctor": func(ts *testscript.TestScript, _ bool, args []string) {
		err := ts.Exec(args[0], args[1:]...)
		var exit *exec.ExitError
		if err != nil && (!errors.As(err, &exit) || exit.ExitCode() != 1) {
			ts.Fatalf("%v", err)
		}
	},
	// silent FILE: a kubeconfig of a server that accepts connections and never answers.
	"silent": func(ts *testscript.TestScript, _ bool, args []string) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		ts.Check(err)
		ts.Defer(func() { _ = l.Close() })
		ts.Check(os.WriteFile(ts.MkAbs(args[0]), fmt.Appendf(nil, kubeconfig, l.Addr()), 0o600))
	},
	// platform DIR: a platform that answers on the control socket of DIR.
	"platform": func(ts *testscript.TestScript, _ bool, args []string) {
		l, err := control.Listen(engine.Dir(ts.MkAbs(args[0])))
		ts.Check(err)
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error)
		go func() { done <- control.Serve(ctx, l, fleet{}) }()
		ts.Defer(func() {
			cancel()
			ts.Check(<-done)
		})
	},
}

const kubeconfig = `
apiVersion: v1
kind: Config
current-context: one
contexts: [{name: one, context: {cluster: a, user: a}}]
clusters: [{name: a, cluster: {server: "http://%s"}}]
users: [{name: a, user: {}}]
`

// fleet is a platform whose nodes are always ready.
type fleet struct{}

func (fleet) AddNode(_ context.Context, want engine.NodeConfig) (engine.NodeConfig, error) {
	if want.Name == "taken" {
		return want, errors.New(`node "taken" exists: choose another name`)
	}
	if want.Zone != "d" || want.CPUMillis != 500 || want.MemoryBytes != 1<<30 {
		return want, fmt.Errorf("asked for %+v", want)
	}
	want.Name = "node-4"
	return want, nil
}

func (fleet) RemoveNode(context.Context, string) error { return nil }

func (fleet) LoginURL() string { return "http://127.0.0.1:7080/login?token=fresh" }

func (fleet) View(context.Context, string, url.Values) (any, error) { return nil, control.ErrNoView }

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{Dir: "testdata/script", Cmds: commands, RequireExplicitExec: true, Setup: setup})
}

// TestCluster runs the scripts that need a cluster: a real one without nodes, so that pods never start.
func TestCluster(t *testing.T) {
	cfg, file := enginetest.Start(t), enginetest.Kubeconfig(t)
	clientset, err := kubernetes.NewForConfig(cfg)
	if err != nil {
		t.Fatal(err)
	}
	runApps(t, cfg)
	// node NAME: a node that is ready and has no kubelet, with a pod on it.
	commands["node"] = func(ts *testscript.TestScript, _ bool, args []string) {
		ctx := context.Background()
		node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: args[0], Labels: map[string]string{corev1.LabelTopologyZone: "z"}}}
		_, err := clientset.CoreV1().Nodes().Create(ctx, node, metav1.CreateOptions{})
		ts.Check(err)
		ts.Defer(func() { _ = clientset.CoreV1().Nodes().Delete(ctx, args[0], metav1.DeleteOptions{}) })
		ready := []byte(`{"status":{"conditions":[{"type":"Ready","status":"True"}]}}`)
		_, err = clientset.CoreV1().Nodes().Patch(ctx, args[0], types.StrategicMergePatchType, ready, metav1.PatchOptions{}, "status")
		ts.Check(err)
		pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: args[0] + "-pod"}}
		pod.Spec.NodeName = args[0]
		pod.Spec.Containers = []corev1.Container{{Name: "app", Image: "x"}}
		pod.Spec.AutomountServiceAccountToken = new(bool)
		_, err = clientset.CoreV1().Pods("default").Create(ctx, pod, metav1.CreateOptions{})
		ts.Check(err)
		ts.Defer(func() {
			_ = clientset.CoreV1().Pods("default").Delete(ctx, pod.Name, *metav1.NewDeleteOptions(0))
		})
	}
	testscript.Run(t, testscript.Params{
		Dir: "testdata/cluster", Cmds: commands, RequireExplicitExec: true,
		Setup: func(env *testscript.Env) error {
			if err := setup(env); err != nil {
				return err
			}
			env.Setenv("KUBECONFIG", file)
			return nil
		},
	})
}

// runApps runs the App controller, with the objects it refers to.
func runApps(t *testing.T, cfg *rest.Config) {
	t.Helper()
	scheme := runtime.NewScheme()
	if err := release.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	ctrl.SetLogger(logr.Discard())
	m, err := ctrl.NewManager(cfg, manager.Options{Scheme: scheme, Metrics: metricsserver.Options{BindAddress: "0"}})
	if err != nil {
		t.Fatal(err)
	}
	objects, err := release.ClusterObjects(8080)
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range objects {
		if err := m.GetClient().Apply(t.Context(), client.ApplyConfigurationFromUnstructured(o), client.FieldOwner("test")); err != nil {
			t.Fatal(err)
		}
	}
	if err := release.Setup(release.Deps{Manager: m, GatewayURL: func() string { return "" }}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- m.Start(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// setup gives a script a home folder of its own and no terminal, browser or cluster.
func setup(env *testscript.Env) error {
	home := filepath.Join(env.WorkDir, "home")
	env.Setenv("HOME", home)
	for _, name := range []string{"KUBECONFIG", "NO_COLOR", "BROWSER", "DISPLAY", "WAYLAND_DISPLAY", "XDG_DATA_HOME"} {
		env.Setenv(name, "")
	}
	env.Setenv("TERM", "xterm")
	return os.Mkdir(home, 0o700)
}
