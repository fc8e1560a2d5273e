package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	kedav1alpha1 "github.com/escale-dev/escale/api/keda/v1alpha1"
	"github.com/escale-dev/escale/api/v1alpha1"
	"github.com/escale-dev/escale/internal/engine"
	"github.com/go-logr/logr"
	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"
	"k8s.io/apimachinery/pkg/runtime"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/client-go/kubernetes"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"
	"sigs.k8s.io/controller-runtime/pkg/client"
	ctrllog "sigs.k8s.io/controller-runtime/pkg/log"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// connectTimeout is how long a server may take to answer the first request.
const connectTimeout = 5 * time.Second

// target holds the flags that say which cluster a command speaks to.
type target struct {
	kubeconfig, context, namespace, dataDir string
}

func (t *target) bind(f *pflag.FlagSet) {
	f.StringVar(&t.kubeconfig, "kubeconfig", "", "kubeconfig of the cluster (default: that of --data-dir, else $KUBECONFIG, else the platform of this machine)")
	f.StringVar(&t.context, "context", "", "context of the kubeconfig (default: its current one)")
	f.StringVarP(&t.namespace, "namespace", "n", "", "namespace (default: that of the context, else \"default\")")
	f.StringVar(&t.dataDir, "data-dir", "", "data directory of the platform (default /var/lib/escale for root, else ~/.local/share/escale)")
}

// place is where a cluster's kubeconfig comes from.
type place struct {
	// files of the kubeconfig, several as $KUBECONFIG may name.
	files []string
	// dir is the data directory of the platform whose cluster it is; empty for any other cluster.
	dir engine.Dir
}

// place chooses the cluster: the kubeconfig that was named, the platform whose directory was named, $KUBECONFIG, the
// platform of this machine. The file ~/.kube/config is never read unless it is named: a command meant for the platform
// must not reach another cluster because the platform happens to be stopped.
func (t target) place() place {
	switch env := os.Getenv(clientcmd.RecommendedConfigPathEnvVar); {
	case t.kubeconfig != "":
		return placeOf([]string{t.kubeconfig})
	case t.dataDir != "":
		dir := absolute(t.dataDir)
		return place{files: []string{dir.Kubeconfig()}, dir: dir}
	case env != "":
		return placeOf(filepath.SplitList(env))
	}
	dir := engine.DefaultDir()
	return place{files: []string{dir.Kubeconfig()}, dir: dir}
}

// placeOf recognises the kubeconfig of a platform by the state file beside it.
func placeOf(files []string) place {
	p := place{files: files}
	if len(files) != 1 {
		return p
	}
	dir := engine.Dir(filepath.Dir(files[0]))
	if dir.Kubeconfig() != filepath.Clean(files[0]) {
		return p
	}
	if _, err := os.Stat(dir.StateFile()); err == nil {
		p.dir = dir
	}
	return p
}

func (p place) String() string { return strings.Join(p.files, string(filepath.ListSeparator)) }

// dir is the data directory that commands about the platform itself use, whatever cluster was named.
func (t target) dir() engine.Dir {
	if p := t.place(); p.dir != "" {
		return p.dir
	}
	if t.dataDir != "" {
		return absolute(t.dataDir)
	}
	return engine.DefaultDir()
}

// absolute is a data directory that can be named from any folder.
func absolute(dir string) engine.Dir {
	if abs, err := filepath.Abs(dir); err == nil {
		return engine.Dir(abs)
	}
	return engine.Dir(dir)
}

// cluster is a cluster that has answered.
type cluster struct {
	place
	server    string
	namespace string
	config    *rest.Config
	client    client.WithWatch
	clientset kubernetes.Interface
}

var scheme = runtime.NewScheme()

func init() {
	utilruntime.Must(clientgoscheme.AddToScheme(scheme))
	utilruntime.Must(gatewayv1.Install(scheme))
	utilruntime.Must(v1alpha1.AddToScheme(scheme))
	utilruntime.Must(kedav1alpha1.AddToScheme(scheme))
}

// connect makes clients for the chosen cluster, and asks it for its version so that a server that does not answer is
// found in seconds and named.
func (e *env) connect(ctx context.Context) (*cluster, error) {
	p := e.target.place()
	if p.dir != "" {
		if err := checkRunning(p.dir); err != nil {
			return nil, err
		}
	}
	c, err := e.dial(p)
	var f *failure
	if errors.As(err, &f) {
		f.final = p.dir == "" // nobody is about to write the file
	}
	if err != nil {
		return nil, err
	}
	return c, c.ping(ctx)
}

// checkRunning says why the platform of dir cannot be asked, from what it wrote about itself.
func checkRunning(dir engine.Dir) error {
	s, err := dir.ReadState()
	switch {
	case errors.Is(err, engine.ErrNoPlatform):
		return withNext(fmt.Errorf("no platform has been started in %q", dir), "start one with `escale up`, or name a cluster with --kubeconfig")
	case errors.Is(err, fs.ErrPermission):
		return withNext(err, "run the command as the user who runs the platform, or name a cluster with --kubeconfig")
	case err != nil:
		return err
	}
	switch platformState(s) {
	case "ready":
		return nil
	case "starting":
		return withNext(fmt.Errorf("the platform of %q is starting: %s", dir, s.Message), "`escale status --wait` waits until it is ready")
	case "failed":
		return withNext(fmt.Errorf("the platform of %q has failed: %s", dir, s.Message), "correct that, then start it again with `escale up`")
	}
	return withNext(fmt.Errorf("the platform of %q is not running", dir), "start it with `escale up`, or name a cluster with --kubeconfig")
}

// platformState is the state of a platform, which may have been killed before it could write that it stopped.
func platformState(s engine.State) string {
	if (s.State == "ready" || s.State == "starting") && unix.Kill(s.PID, 0) == unix.ESRCH {
		return "stopped"
	}
	return s.State
}

// dial makes the clients; it sends nothing.
func (e *env) dial(p place) (*cluster, error) {
	rules := &clientcmd.ClientConfigLoadingRules{Precedence: p.files, WarnIfAllMissing: false}
	if err := readable(p.files); err != nil {
		return nil, err
	}
	raw, err := rules.Load()
	if err != nil {
		return nil, withNext(fmt.Errorf("the kubeconfig cannot be read: %w", err), "name another file with --kubeconfig")
	}
	loader := clientcmd.NewNonInteractiveClientConfig(*raw, e.target.context, &clientcmd.ConfigOverrides{CurrentContext: e.target.context}, rules)
	cfg, err := loader.ClientConfig()
	if err != nil {
		return nil, withNext(fmt.Errorf("kubeconfig %q: %w", p, err), "name one of its contexts with --context, or another file with --kubeconfig")
	}
	namespace, _, err := loader.Namespace()
	if err != nil {
		return nil, withNext(fmt.Errorf("kubeconfig %q: %w", p, err), "correct the file, or name another with --kubeconfig")
	}
	if e.target.namespace != "" {
		namespace = e.target.namespace
	}
	return e.clients(p, cfg, namespace)
}

func readable(files []string) error {
	for _, file := range files {
		f, err := os.Open(file)
		if err != nil {
			return withNext(fmt.Errorf("the kubeconfig cannot be read: %w", err), "name another file with --kubeconfig; `escale up` starts a platform of this machine")
		}
		_ = f.Close()
	}
	return nil
}

func (e *env) clients(p place, cfg *rest.Config, namespace string) (*cluster, error) {
	quietKubernetes()
	cfg.QPS, cfg.Burst = 200, 400
	cfg.UserAgent = "escale/" + e.version
	cfg.WarningHandler = rest.NewWarningWriter(e.err, rest.WarningWriterOptions{Deduplicate: true, Color: bool(e.paint(e.err))})
	c := &cluster{place: p, server: cfg.Host, namespace: namespace, config: cfg}
	var err error
	if c.client, err = client.NewWithWatch(cfg, client.Options{Scheme: scheme}); err != nil {
		return nil, fmt.Errorf("making a client for %q: %w", cfg.Host, err)
	}
	if c.clientset, err = kubernetes.NewForConfig(cfg); err != nil {
		return nil, fmt.Errorf("making a client for %q: %w", cfg.Host, err)
	}
	return c, nil
}

// quietKubernetes keeps what the client libraries log, for developers, from the person at the terminal.
func quietKubernetes() {
	klog.SetOutput(io.Discard)
	klog.LogToStderr(false)
	ctrllog.SetLogger(logr.Discard())
}

func (c *cluster) ping(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	err := c.clientset.Discovery().RESTClient().Get().AbsPath("/version").Do(ctx).Error()
	if err == nil {
		return nil
	}
	err = fmt.Errorf("the cluster at %s, which %q names, does not answer: %s", c.server, c.place, reason(err))
	if c.dir != "" {
		return withNext(err, "`escale status` says how the platform is; `escale up` starts it")
	}
	return withNext(err, "start that cluster, or name another with --kubeconfig or --context")
}
