package platform

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"time"

	"github.com/escale-dev/escale/api/v1alpha1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	clientscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Objects is a client for the kinds of the platform.
func (p *Platform) Objects() (client.Client, error) {
	cfg, err := clientcmd.BuildConfigFromFlags("", p.Dir.Kubeconfig())
	if err != nil {
		return nil, err
	}
	cfg.QPS, cfg.Burst = 1000, 2000
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientscheme.AddToScheme, v1alpha1.AddToScheme} {
		if err := add(scheme); err != nil {
			return nil, err
		}
	}
	return client.New(cfg, client.Options{Scheme: scheme})
}

// Scale replaces how an App is scaled; scale is spec.scale in JSON, in which a null takes a field away.
func Scale(ctx context.Context, c client.Client, app client.ObjectKey, scale string) error {
	o := &v1alpha1.App{}
	o.Namespace, o.Name = app.Namespace, app.Name
	patch := client.RawPatch(types.MergePatchType, []byte(`{"spec":{"replicas":null,"scale":`+scale+`}}`))
	if err := c.Patch(ctx, o, patch); err != nil {
		return fmt.Errorf("changing the scaling of App %q: %w", app.Name, err)
	}
	return nil
}

// AwaitPods waits until a Deployment asks for n pods, all of them are ready and no other pod of the App is left.
func AwaitPods(ctx context.Context, c client.Client, app client.ObjectKey, n int) error {
	for {
		at, err := pods(ctx, c, app)
		if err == nil && at == [3]int{n, n, n} {
			return nil
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("waiting for %d pods of %s (desired, ready, there: %v): %w", n, app, at, errors.Join(ctx.Err(), err))
		}
	}
}

// pods is how many pods are desired, ready and there.
func pods(ctx context.Context, c client.Client, app client.ObjectKey) (n [3]int, err error) {
	var d appsv1.Deployment
	if err := c.Get(ctx, app, &d); err != nil {
		return n, err
	}
	var list corev1.PodList
	err = c.List(ctx, &list, client.InNamespace(app.Namespace), client.MatchingLabels{v1alpha1.LabelApp: app.Name})
	return [3]int{int(ptr.Deref(d.Spec.Replicas, 1)), int(d.Status.ReadyReplicas), len(list.Items)}, err
}

// OwnStart is how long a program takes by itself from its start to its first answer over HTTP, whatever it answers. It
// is run on loopback with $HOST and $PORT, and ended by its process id.
func OwnStart(ctx context.Context, path string, env []string, command ...string) (time.Duration, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	port := l.Addr().(*net.TCPAddr).Port
	if err := l.Close(); err != nil {
		return 0, err
	}
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	cmd.Env = append(append(os.Environ(), env...), "HOST=127.0.0.1", fmt.Sprintf("PORT=%d", port))
	begun := time.Now()
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
	for {
		resp, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d%s", port, path))
		if err == nil {
			took := time.Since(begun)
			_ = resp.Body.Close()
			return took, nil
		}
		if ctx.Err() != nil || time.Since(begun) > time.Minute {
			return 0, fmt.Errorf("waiting for %q to answer: %w", command[0], err)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// Percentile of durations, by the nearest rank.
func Percentile(d []time.Duration, percent int) time.Duration {
	if len(d) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(d))
	return sorted[max(0, (len(sorted)*percent+99)/100-1)]
}
