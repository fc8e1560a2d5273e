package cli

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/escale-dev/escale/api/v1alpha1"
	"github.com/escale-dev/escale/internal/engine"
	"github.com/escale-dev/escale/internal/engine/control"
	"github.com/escale-dev/escale/internal/release"
	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/utils/ptr"
)

func TestExplain(t *testing.T) {
	pods := schema.GroupResource{Resource: "pods"}
	for name, tt := range map[string]struct {
		err  error
		next string
		code int
	}{
		"its own next step":  {fmt.Errorf("reading: %w", withNext(fs.ErrPermission, "ask %s", "root")), "ask root", codeFailed},
		"its own code":       {&failure{err: errors.New("x"), code: codeUsage}, "`escale doctor`", codeUsage},
		"mistake in a file":  {errors.Join(&release.LineError{File: "a", Line: 1, Message: "x"}), "correct the lines", codeFailed},
		"no platform":        {fmt.Errorf("x: %w", control.ErrNotRunning), "start the platform with `escale up`", codeFailed},
		"forbidden":          {apierrors.NewForbidden(pods, "a", nil), "ask the cluster's administrator", codeFailed},
		"expired login":      {apierrors.NewUnauthorized("x"), "does not accept the credentials", codeFailed},
		"busy":               {apierrors.NewTooManyRequests("x", 1), "run the command again", codeFailed},
		"no such permission": {&fs.PathError{Op: "open", Path: "x", Err: fs.ErrPermission}, "as the user the file belongs to", codeFailed},
		"anything else":      {errors.New("x"), "`escale doctor` checks this machine", codeFailed},
	} {
		t.Run(name, func(t *testing.T) {
			a := explain(tt.err)
			if a.code != tt.code || !strings.Contains(a.next, tt.next) || a.sentence != tt.err.Error() {
				t.Errorf("got %+v", a)
			}
		})
	}
}

func TestReason(t *testing.T) {
	for want, err := range map[string]error{
		"nothing listens there":                                         &url.Error{Op: "Get", URL: "x", Err: &net.OpError{Op: "dial", Err: os.NewSyscallError("connect", unix.ECONNREFUSED)}},
		"no answer within 5s":                                           fmt.Errorf("x: %w", context.DeadlineExceeded),
		`the host name "c.invalid" is not known`:                        &net.DNSError{Name: "c.invalid", IsNotFound: true},
		"its certificate is not signed by the authority the file names": &url.Error{Err: x509.UnknownAuthorityError{}},
		"there is no way to that address from this machine":             &net.OpError{Op: "dial", Err: unix.EHOSTUNREACH},
		"EOF": fmt.Errorf("a: %w", fmt.Errorf("b: %w", errors.New("EOF"))),
	} {
		if got := reason(err); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestPlace(t *testing.T) {
	dir := t.TempDir()
	if err := engine.Dir(dir).WriteState(engine.State{State: "ready"}); err != nil {
		t.Fatal(err)
	}
	home := t.TempDir()
	t.Setenv("HOME", home)
	t.Setenv("XDG_DATA_HOME", "")
	for name, tt := range map[string]struct {
		target target
		env    string
		want   place
	}{
		"nothing named":         {want: place{[]string{engine.DefaultDir().Kubeconfig()}, engine.DefaultDir()}},
		"the environment":       {env: "/a", want: place{[]string{"/a"}, ""}},
		"two files":             {env: "/a:/b", want: place{[]string{"/a", "/b"}, ""}},
		"a flag beats it":       {target: target{kubeconfig: "/c"}, env: "/a", want: place{[]string{"/c"}, ""}},
		"so does the directory": {target: target{dataDir: "/d"}, env: "/a", want: place{[]string{"/d/kubeconfig"}, "/d"}},
		"the file beats it":     {target: target{dataDir: "/d", kubeconfig: "/c"}, want: place{[]string{"/c"}, ""}},
		"a platform's file": {
			env: filepath.Join(dir, "kubeconfig"), want: place{[]string{filepath.Join(dir, "kubeconfig")}, engine.Dir(dir)},
		},
		"a file beside a platform": {env: filepath.Join(dir, "other"), want: place{[]string{filepath.Join(dir, "other")}, ""}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("KUBECONFIG", tt.env)
			if got := tt.target.place(); !reflect.DeepEqual(got, tt.want) {
				t.Errorf("got %+v, want %+v", got, tt.want)
			}
		})
	}
}

func TestPlatformOf(t *testing.T) {
	started := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	state := engine.State{
		State: "ready", PID: os.Getpid(), Version: "1", StartedAt: started, PortalURL: "http://127.0.0.1:7080/login?token=secret",
		Stages: []engine.Stage{{Name: "network", Duration: 1500 * time.Millisecond}},
	}
	got := platformOf(state, "/d")
	if got.State != "ready" || got.PortalURL != "http://127.0.0.1:7080" || !slices.Equal(got.Stages, []stageStatus{{"network", 1.5}}) {
		t.Errorf("got %+v", got)
	}
	state.PID = 1<<31 - 1 // above the largest process id
	if got := platformOf(state, "/d"); got.State != "stopped" || got.PID != 0 || got.Message == "" {
		t.Errorf("killed: got %+v", got)
	}
	if got := platformOf(engine.State{}, "/d"); got.State != "absent" || !strings.Contains(got.Message, `"/d"`) || got.Stages == nil {
		t.Errorf("none: got %+v", got)
	}
}

func TestNodesOf(t *testing.T) {
	node := corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "node-1", Labels: map[string]string{corev1.LabelTopologyZone: "a"}}}
	node.Spec.Unschedulable = true
	node.Status.Allocatable = corev1.ResourceList{"cpu": resource.MustParse("2"), "memory": resource.MustParse("1Gi")}
	node.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}}
	node.Status.Addresses = []corev1.NodeAddress{{Type: corev1.NodeHostName, Address: "x"}, {Type: corev1.NodeInternalIP, Address: "10.42.4.1"}}
	pod := func(on string, phase corev1.PodPhase) corev1.Pod {
		p := corev1.Pod{}
		p.Spec.NodeName, p.Status.Phase = on, phase
		p.Spec.Containers = []corev1.Container{{Resources: corev1.ResourceRequirements{
			Requests: corev1.ResourceList{"cpu": resource.MustParse("250m"), "memory": resource.MustParse("64Mi")}}}}
		return p
	}
	got := nodesOf([]corev1.Node{node}, []corev1.Pod{
		pod("node-1", corev1.PodRunning), pod("node-1", corev1.PodPending), pod("node-1", corev1.PodSucceeded), pod("node-2", corev1.PodRunning),
	})
	want := []nodeStatus{{
		Name: "node-1", Zone: "a", Ready: true, Cordoned: true, Address: "10.42.4.1", CPUAllocatable: 2000, CPUReserved: 500,
		MemoryAllocatable: 1 << 30, MemoryReserved: 128 << 20, Pods: 2,
	}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestUnready(t *testing.T) {
	ready := status{Platform: platformStatus{State: "ready"}, Nodes: []nodeStatus{{Name: "n", Ready: true}}, Apps: []appStatus{{Name: "a", Ready: true}}}
	for name, tt := range map[string]struct {
		change func(*status)
		want   string
	}{
		"all ready":      {func(*status) {}, ""},
		"another's":      {func(s *status) { s.Platform.State = "external" }, ""},
		"starting":       {func(s *status) { s.Platform = platformStatus{State: "starting", Message: "waiting for nodes"} }, "the platform is starting: waiting for nodes"},
		"stopped":        {func(s *status) { s.Platform.State = "stopped" }, "the platform is stopped"},
		"a node":         {func(s *status) { s.Nodes[0].Ready = false }, `node "n" is not ready`},
		"an App":         {func(s *status) { s.Apps[0] = appStatus{Name: "a", Message: "1 of 3"} }, `App "a" is not ready: 1 of 3`},
		"hostile answer": {func(s *status) { s.Apps[0] = appStatus{Name: "a", Message: "x\x1b[2J\ny"} }, `App "a" is not ready: x [2J y`},
	} {
		t.Run(name, func(t *testing.T) {
			s := status{ready.Schema, ready.Platform, slices.Clone(ready.Nodes), slices.Clone(ready.Apps)}
			tt.change(&s)
			if got := s.unready(); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestPrintStatus(t *testing.T) {
	now := time.Date(2026, 1, 1, 1, 0, 0, 0, time.UTC)
	started := now.Add(-time.Hour)
	s := status{
		Platform: platformStatus{State: "ready", Version: "1.2.3", StartedAt: &started, Isolation: "host",
			GatewayURL: "http://127.0.0.1:8080", PortalURL: "http://127.0.0.1:7080", Registry: "127.0.0.1:5050", Kubeconfig: "/d/kubeconfig",
			Stages: []stageStatus{{"control plane", 4.25}, {"nodes", 3}}},
		Nodes: []nodeStatus{{Name: "node-1", Zone: "a", Ready: true, CPUAllocatable: 666, CPUReserved: 100, MemoryAllocatable: 2 << 30, MemoryReserved: 64 << 20, Pods: 3},
			{Name: "node-2", Zone: "b", Cordoned: true}},
		Apps: []appStatus{{Name: "web", Namespace: "shop", Ready: true, Desired: 2, Observed: 2, URL: "http://127.0.0.1:8080/", Revision: "3f9a0c1d", Message: "serves"},
			{Name: "search", Namespace: "shop", Desired: 1, Message: `pod "search-x" ends with exit code 1`}},
	}
	want := `Platform  ready, version 1.2.3, for 1h0m, network host
  gateway     http://127.0.0.1:8080
  portal      http://127.0.0.1:7080
  registry    127.0.0.1:5050
  kubeconfig  /d/kubeconfig
  start       control plane 4.2 s, nodes 3.0 s

NODE     ZONE   READY          PODS   CPU            MEMORY
node-1   a      yes            3      0.10 of 0.67   64.0 MiB of 2.0 GiB
node-2   b      no, cordoned   0      0.00 of 0.00   0 B of 0 B

APP      NAMESPACE   READY   PODS     REVISION   URL                      MESSAGE
web      shop        yes     2 of 2   3f9a0c1d   http://127.0.0.1:8080/
search   shop        no      0 of 1                                       pod "search-x" ends with exit code 1
`
	var plain, coloured bytes.Buffer
	s.print(&plain, false, false, now)
	if plain.String() != want {
		t.Errorf("got\n%s\nwant\n%s", plain.String(), want)
	}
	s.print(&coloured, true, false, now)
	if got := colourCode.ReplaceAllString(coloured.String(), ""); got != want || coloured.String() == want {
		t.Errorf("with colour, the columns differ:\n%s", got)
	}
}

func TestAge(t *testing.T) {
	for d, want := range map[time.Duration]string{
		-time.Second: "0s", 59 * time.Second: "59s", time.Minute: "1m", 90 * time.Minute: "1h30m", 49 * time.Hour: "2d1h",
	} {
		if got := age(d); got != want {
			t.Errorf("%s: got %s, want %s", d, got, want)
		}
	}
}

func TestSize(t *testing.T) {
	for n, want := range map[int64]string{0: "0 B", 1023: "1023 B", 1536: "1.5 KiB", 200 << 20: "200 MiB", 3 << 40: "3.0 TiB"} {
		if got := size(n); got != want {
			t.Errorf("%d: got %s, want %s", n, got, want)
		}
	}
}

func TestEventRow(t *testing.T) {
	for name, tt := range map[string]struct {
		event release.Event
		want  string
		mark  mark
	}{
		"building":   {release.Event{Name: "web", Step: release.StepBuilding}, "web: building", working},
		"other kind": {release.Event{Kind: "Secret", Name: "s", Step: release.StepApplied}, "Secret s: applied", done},
		"waiting":    {release.Event{Name: "web", Step: release.StepWaiting, Message: "waiting for pods"}, "web: waiting for pods", working},
		"serving":    {release.Event{Name: "web", Step: release.StepServing, Revision: "3f", URL: "http://x"}, "web: serving revision 3f http://x", done},
		"failed":     {release.Event{Name: "web", Step: release.StepFailed, Message: "no such command"}, "web: no such command", broken},
	} {
		row, text, m := eventRow(tt.event)
		if got := row + ": " + text; got != tt.want || m != tt.mark {
			t.Errorf("%s: got %q, %v", name, got, m)
		}
	}
}

func TestDeployed(t *testing.T) {
	var out, errs bytes.Buffer
	e := &env{out: &out, err: &errs}
	results := []release.Result{
		{Name: "web", Namespace: "shop", URL: "http://127.0.0.1:8080/"},
		{Name: "search", Namespace: "shop", Message: "pod ends with exit code 1", Pod: "search-x", Log: []string{"Traceback", "\x1b[31mboom"}, Err: release.ErrNotServing},
	}
	err := e.deployed(results, release.ErrNotServing, "")
	if a := explain(err); a.sentence != `App "search" does not serve` || !strings.Contains(a.next, "escale rollback search -n shop") || a.code != codeFailed {
		t.Errorf("got %+v", a)
	}
	if out.String() != "http://127.0.0.1:8080/\n" {
		t.Errorf("standard output: %q", out.String())
	}
	want := "\nApp \"search\" does not serve: pod ends with exit code 1\nthe log of pod \"search-x\" ends with\n  | Traceback\n  | [31mboom\n\n"
	if errs.String() != want {
		t.Errorf("standard error: got %q, want %q", errs.String(), want)
	}
}

func TestBoardInAPipe(t *testing.T) {
	var out bytes.Buffer
	e := &env{err: &out}
	b := e.newBoard()
	b.set("web", "building", working)
	b.set("web", "building", working) // no change, no line
	b.set("web", "serving\nnow", done)
	b.close()
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	if len(lines) != 2 || !strings.HasPrefix(lines[0], "· web  building (") || !strings.HasPrefix(lines[1], "✓ web  serving now (") {
		t.Errorf("got %q", lines)
	}
}

func TestScreen(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 10, 0, time.UTC)
	since := now.Add(-2 * time.Second)
	rows := []row{
		{name: "db", text: "serving", mark: done, took: time.Second, since: since},
		{name: "web", text: "waiting for pod \"web-6d5f\" to answer", since: since},
		{name: "search", text: "exit code 1", mark: broken, took: time.Second, since: since},
	}
	for name, tt := range map[string]struct {
		width, height int
		want          []string
	}{
		"room": {80, 10, []string{
			"✓ db      serving (1.0s)", "⠋ web     waiting for pod \"web-6d5f\" to answer (2.0s)", "✗ search  exit code 1 (1.0s)"}},
		"narrow": {30, 10, []string{
			"✓ db      serving (1.0s)", "⠋ web     waiting for … (2.0s)", "✗ search  exit code 1 (1.0s)"}},
		"low": {80, 2, []string{"⠋ web     waiting for pod \"web-6d5f\" to answer (2.0s)", "  and 2 more"}},
	} {
		t.Run(name, func(t *testing.T) {
			if got := screen(rows, now, 0, tt.width, tt.height, false); !slices.Equal(got, tt.want) {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestScreenNeverWraps(t *testing.T) {
	rows := make([]row, 20)
	for i := range rows {
		rows[i] = row{name: "app", text: strings.Repeat("é", 300), mark: mark(i % 3)}
	}
	for height := range 25 {
		lines := screen(rows, time.Time{}, 3, 40, height, true)
		if len(lines) > max(height, 2) && len(lines) != len(rows) || len(lines) > max(height, 2) {
			t.Errorf("height %d: %d lines", height, len(lines))
		}
		for _, l := range lines {
			if visible(l) > 40 {
				t.Errorf("line of %d: %q", visible(l), l)
			}
		}
	}
}

func TestRuns(t *testing.T) {
	running := corev1.ContainerStatus{Name: "app", ContainerID: "process://2", State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}}
	again := running
	again.LastTerminationState.Terminated = &corev1.ContainerStateTerminated{ContainerID: "process://1"}
	waiting := again
	waiting.State = corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "CrashLoopBackOff"}}
	never := corev1.ContainerStatus{Name: "app", State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{}}}
	for name, tt := range map[string]struct {
		status   corev1.ContainerStatus
		previous bool
		want     []run
	}{
		"running":            {running, false, []run{{"p", "app", "process://2"}}},
		"running, previous":  {running, true, nil},
		"again":              {again, false, []run{{"p", "app", "process://2"}}},
		"again, previous":    {again, true, []run{{"p", "app", "process://1"}}},
		"waits to run again": {waiting, false, []run{{"p", "app", "process://1"}}},
		"has never been run": {never, false, nil},
	} {
		pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p"}}
		pod.Status.ContainerStatuses = []corev1.ContainerStatus{tt.status}
		if got := runs(pod, tt.previous); !slices.Equal(got, tt.want) {
			t.Errorf("%s: got %v, want %v", name, got, tt.want)
		}
	}
}

func TestNote(t *testing.T) {
	waiting := func(reason, message string) corev1.PodStatus {
		return corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{{State: corev1.ContainerState{
			Waiting: &corev1.ContainerStateWaiting{Reason: reason, Message: message}}}}}
	}
	for want, status := range map[string]corev1.PodStatus{
		"":                                     waiting("ContainerCreating", ""),
		"ImagePullBackOff: no such host":       waiting("ImagePullBackOff", "no such host"),
		"Unschedulable: 0/3 nodes have memory": {Conditions: []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: "Unschedulable", Message: "0/3 nodes have memory"}}},
	} {
		if got := note(&corev1.Pod{Status: status}); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestBrowser(t *testing.T) {
	for name, tt := range map[string]struct {
		env  map[string]string
		has  bool
		want []string
	}{
		"chosen":      {map[string]string{"BROWSER": "firefox --new-tab", "DISPLAY": ":0"}, true, []string{"firefox", "--new-tab"}},
		"desktop":     {map[string]string{"WAYLAND_DISPLAY": "wayland-0"}, true, []string{"xdg-open"}},
		"no desktop":  {nil, true, nil},
		"no xdg-open": {map[string]string{"DISPLAY": ":0"}, false, nil},
	} {
		got := browser(func(k string) string { return tt.env[k] }, func(string) bool { return tt.has })
		if !slices.Equal(got, tt.want) {
			t.Errorf("%s: got %q, want %q", name, got, tt.want)
		}
	}
}

func TestAsWritten(t *testing.T) {
	app := v1alpha1.App{Spec: v1alpha1.AppSpec{Image: "x"}}
	app.Name, app.Namespace, app.UID, app.ResourceVersion = "web", "shop", "u", "7"
	app.ManagedFields = []metav1.ManagedFieldsEntry{{}}
	app.Status.Revision = "3f"
	got := asWritten(app)
	if got.Name != "web" || got.Namespace != "shop" || got.Spec.Image != "x" || got.UID != "" || got.ResourceVersion != "" || got.ManagedFields != nil || got.Status.Revision != "" {
		t.Errorf("got %+v", got)
	}
}

func TestEntrances(t *testing.T) {
	results := []release.Result{
		{URL: "http://shop.localhost:8080/api/catalog"}, {URL: "http://shop.localhost:8080/"}, {}, {URL: "http://docs.localhost:8080/"},
		{URL: "http://a.localhost/one"}, {URL: "http://a.localhost/one-more"}, {URL: "http://b.localhost/", Err: release.ErrNotServing},
	}
	want := []string{"http://a.localhost/one", "http://a.localhost/one-more", "http://docs.localhost:8080/", "http://shop.localhost:8080/"}
	if got := entrances(results); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestToEvict(t *testing.T) {
	pod := func(name, owner string, change func(*corev1.Pod)) corev1.Pod {
		p := corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "shop"}}
		if owner != "" {
			p.OwnerReferences = []metav1.OwnerReference{{Kind: owner, Controller: ptr.To(true)}}
		}
		if change != nil {
			change(&p)
		}
		return p
	}
	pods := []corev1.Pod{
		pod("web", "ReplicaSet", nil),
		pod("agent", "DaemonSet", nil),
		pod("mirror", "Node", func(p *corev1.Pod) { p.Annotations = map[string]string{corev1.MirrorPodAnnotationKey: "x"} }),
		pod("over", "", func(p *corev1.Pod) { p.Status.Phase = corev1.PodSucceeded }),
		pod("going", "", func(p *corev1.Pod) { p.DeletionTimestamp = &metav1.Time{} }),
	}
	names := func(pods []corev1.Pod) (out []string) {
		for _, p := range pods {
			out = append(out, p.Name)
		}
		return out
	}
	got, err := toEvict(pods, false)
	if want := []string{"web", "over", "going"}; err != nil || !slices.Equal(names(got), want) {
		t.Errorf("got %q, %v; want %q", names(got), err, want)
	}
	pods = append(pods, pod("bare", "", nil))
	if _, err := toEvict(pods, false); err == nil || !strings.Contains(err.Error(), `nothing would start pod "bare" of namespace "shop" again`) {
		t.Errorf("a pod without a controller: got %v", err)
	}
	if got, err := toEvict(pods, true); err != nil || len(got) != 4 {
		t.Errorf("by force: got %q, %v", names(got), err)
	}
}
