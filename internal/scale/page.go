package scale

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	kedav1alpha1 "github.com/escale-dev/escale/api/keda/v1alpha1"
	"github.com/escale-dev/escale/api/v1alpha1"
	"github.com/escale-dev/escale/internal/scale/advise"
	"github.com/escale-dev/escale/internal/scale/decision"
	"github.com/escale-dev/escale/internal/scale/hours"
	"github.com/escale-dev/escale/internal/scale/trigger"
	"github.com/escale-dev/escale/internal/scale/view"
	"github.com/escale-dev/escale/internal/signal"
	"github.com/escale-dev/escale/internal/timeline"
	portal "github.com/escale-dev/escale/internal/web"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// mostRecords is how many records of the timeline the pages look at.
const mostRecords = 500

// addPages adds the Scaling pages. They are made anew each second while somebody looks.
func (s *Scaler) addPages(server *portal.Server) {
	server.Section("Scaling", "/scaling")
	server.Page("/scaling", portal.Page{Section: "/scaling", Template: view.Overall, Changes: s.seconds,
		View: func(r *http.Request) (portal.View, error) {
			f, err := s.pageFacts(r.Context(), "")
			if err != nil {
				return nil, err
			}
			return view.Of(f, r.FormValue("q")), nil
		}})
	server.Page("/scaling/{namespace}/{name}", portal.Page{Section: "/scaling", Template: view.One, Changes: s.seconds,
		View: func(r *http.Request) (portal.View, error) {
			namespace, name, key := r.PathValue("namespace"), r.PathValue("name"), r.FormValue("range")
			f, err := s.pageFacts(r.Context(), namespace)
			if err != nil {
				return nil, err
			}
			s.detail(r.Context(), &f, namespace, name, view.SpanOf(key))
			page, ok := view.WorkloadOf(f, namespace, name, key)
			if !ok {
				return nil, portal.NotFound(fmt.Sprintf("Nothing scales %q in namespace %q.", name, namespace), "The Scaling page lists what is scaled.")
			}
			return page, nil
		}})
}

// seconds receives after the facts of each second are in place, until ctx ends.
func (s *Scaler) seconds(ctx context.Context) <-chan struct{} {
	out := make(chan struct{}, 1)
	events, cancel := s.subscribe(ctx)
	go func() {
		defer close(out)
		defer cancel()
		for {
			select {
			case <-ctx.Done():
				return
			case _, ok := <-events:
				if !ok {
					return
				}
			}
			select {
			case out <- struct{}{}:
			default: // it has one waiting
			}
		}
	}()
	return out
}

// pageFacts gathers what the pages show, of one namespace or of all for "".
func (s *Scaler) pageFacts(ctx context.Context, namespace string) (view.Facts, error) {
	now := s.now()
	f := view.Facts{Now: now}
	var objects kedav1alpha1.ScaledObjectList
	if err := s.client.List(ctx, &objects, client.InNamespace(namespace), client.UnsafeDisableDeepCopy); err != nil {
		return f, fmt.Errorf("listing ScaledObjects: %w", err)
	}
	for i := range objects.Items {
		f.Workloads = append(f.Workloads, s.objectView(&objects.Items[i], now))
	}
	var batches kedav1alpha1.ScaledJobList
	if err := s.client.List(ctx, &batches, client.InNamespace(namespace), client.UnsafeDisableDeepCopy); err != nil {
		return f, fmt.Errorf("listing ScaledJobs: %w", err)
	}
	for i := range batches.Items {
		f.Workloads = append(f.Workloads, s.jobView(&batches.Items[i]))
	}
	rows, err := hours.List(ctx, s.client, namespace, now)
	if err != nil {
		return f, fmt.Errorf("reading office hours: %w", err)
	}
	for _, row := range rows {
		f.Hours = append(f.Hours, hoursView(row))
	}
	for _, r := range s.timeline.List(timeline.Filter{Namespace: namespace, Limit: mostRecords}) {
		if namespace != "" || len(r.Stages) > 0 && r.Action == "scaled up" {
			f.Recent = append(f.Recent, r)
		}
	}
	return f, nil
}

// objectView is a ScaledObject as it stands. One that is not scaled says in its status why.
func (s *Scaler) objectView(have *kedav1alpha1.ScaledObject, now time.Time) view.Workload {
	v := view.Workload{Object: kindScaledObject, Namespace: have.Namespace, Name: have.Name,
		Min: orDefault(have.Spec.MinReplicaCount, 0), Max: orDefault(have.Spec.MaxReplicaCount, decision.DefaultMax)}
	o, ok := s.subject(key{kindScaledObject, client.ObjectKeyFromObject(have)}).(*object)
	if ok {
		o.addView(&v)
	} else if ref := have.Spec.ScaleTargetRef; ref != nil {
		v.Workload = workloadOf(orText(ref.Kind, "Deployment"), have.Namespace, ref.Name)
	}
	if c := have.Status.Conditions.Get(kedav1alpha1.ConditionReady); c.Status == metav1.ConditionFalse {
		v.Problem, v.Conflict = c.Message, c.Reason == reasonConflict
	}
	if owner := metav1.GetControllerOf(have); owner != nil && owner.Kind == "App" {
		v.App = "/apps/" + have.Namespace + "/" + owner.Name
	}
	v.Past = s.past.Of(s.signals, v.Workload, now)
	v.Advice = s.advice(v.Workload, now)
	for _, up := range s.watcher.Running(v.Workload) {
		one := view.Scaleup{At: up.Decided, From: up.From, To: up.To, Reason: up.Reason, Stands: up.Stands}
		for _, stage := range up.Stages {
			one.Stages = append(one.Stages, view.Stage{Name: stage.Name, Took: stage.Duration, Running: stage.Running})
		}
		v.Running = append(v.Running, one)
	}
	return v
}

func orText(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

// addView adds the newest decision.
func (o *object) addView(v *view.Workload) {
	o.mu.Lock()
	defer o.mu.Unlock()
	v.Workload = o.workload
	v.Min, v.Max = o.base.Min, o.base.Max
	v.Decided = o.decided
	p := &o.plan
	i := 0
	for n, src := range o.sources {
		if n >= len(o.snaps) {
			break
		}
		for _, m := range o.snaps[n].metrics {
			v.Triggers = append(v.Triggers, o.triggerView(src, n, i, m))
			i++
		}
	}
	if !o.decided || o.set == nil {
		return
	}
	v.Replicas, v.From, v.Wanted = p.Replicas, p.From, p.Wanted
	v.Reason, v.Limit, v.Until = p.Reason(o.set), p.LimitText(o.set), p.Until
	v.Held, v.AtMost = p.Limit == decision.LimitHold, p.Limit == decision.LimitMax
	v.Paused = p.Limit == decision.LimitPaused
	v.Fallback, v.Unread, v.Resting = p.Fallback, p.Unread, o.resting()
}

// triggerView is metric i of the object, which source n reads.
func (o *object) triggerView(src *source, n, i int, m trigger.Metric) view.Trigger {
	t := view.Trigger{Type: src.config.Type, Metric: m.Name, Target: m.Target, Live: liveOf(src), Failures: o.snaps[n].failures, Pushing: src.isPushing()}
	if err := o.snaps[n].err; err != nil {
		t.Error = err.Error()
	}
	if i < len(o.readings) {
		t.Value, t.At, t.Active = o.readings[i].Value, o.readings[i].At, o.readings[i].Active
	}
	if o.set != nil && i < len(o.set.Metrics) {
		set := &o.set.Metrics[i]
		t.Unit, t.Whole, t.Percent = set.Unit, set.Kind == decision.Whole, set.Kind == decision.Utilization
	}
	if i < len(o.plan.Metrics) {
		t.Pods, t.Fallback = o.plan.Metrics[i].Pods, o.plan.Metrics[i].Fallback
	}
	return t
}

func (s *source) isPushing() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.pushing
}

// liveOf is where the live facts hold a trigger's number.
func liveOf(src *source) view.Live {
	switch src.config.Type {
	case "cpu":
		return view.LiveCPU
	case "memory":
		return view.LiveMemory
	case "cron":
		return view.LiveNone
	case trigger.TypeRequests:
		if src.config.Metadata["metric"] == "rate" {
			return view.LiveRate
		}
		return view.LiveInFlight
	}
	return view.LiveLag
}

// jobView is a ScaledJob as it stands.
func (s *Scaler) jobView(have *kedav1alpha1.ScaledJob) view.Workload {
	v := view.Workload{Object: kindScaledJob, Namespace: have.Namespace, Name: have.Name,
		Workload: workloadOf(kindScaledJob, have.Namespace, have.Name)}
	if c := have.Status.Conditions.Get(kedav1alpha1.ConditionReady); c.Status == metav1.ConditionFalse {
		v.Problem = c.Message
	}
	j, ok := s.subject(key{kindScaledJob, client.ObjectKeyFromObject(have)}).(*job)
	if !ok {
		return v
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	v.Min, v.Max, v.Decided, v.Paused = j.base.Min, j.base.Max, j.decided, j.base.Paused
	v.Reason, v.Wanted, v.Unread = orText(j.plan.Reason, "no trigger sees work"), j.plan.Wanted, j.plan.Unread
	v.Resting = !j.plan.Active
	for n, src := range j.sources {
		if n < len(j.snaps) && n < len(j.readings) {
			t := view.Trigger{Type: src.config.Type, Failures: j.snaps[n].failures, Pushing: src.isPushing(),
				Value: j.readings[n].Value, At: j.readings[n].At, Active: j.readings[n].Active}
			if err := j.snaps[n].err; err != nil {
				t.Error = err.Error()
			}
			v.Triggers = append(v.Triggers, t)
		}
	}
	return v
}

func hoursView(row hours.Row) view.Hours {
	h := view.Hours{Kind: row.Kind, Namespace: row.Namespace, Name: row.Name, Down: row.Down, Replicas: row.Replicas,
		Original: row.Original, Why: row.Why, LeftTo: row.LeftTo, Error: row.Error}
	if row.Until != nil {
		h.Until = *row.Until
	}
	if row.Since != nil {
		h.Saved = savedText(row.Saved)
	}
	return h
}

func savedText(s hours.Saved) string {
	return fmt.Sprintf("%.3g core hours, %.3g GiB hours", s.CPUHours, s.MemoryGiBHours)
}

// detail adds what only the page of one workload shows: a longer past, and the week of its office hours.
func (s *Scaler) detail(ctx context.Context, f *view.Facts, namespace, name string, span time.Duration) {
	for i := range f.Workloads {
		w := &f.Workloads[i]
		if w.Namespace != namespace || w.Name != name {
			continue
		}
		if span > view.Short {
			w.Past = view.Points(s.signals.History(w.Workload, f.Now.Add(-span)))
		}
		for n := range f.Hours {
			if h := &f.Hours[n]; h.Name == w.Name || h.Name == w.Workload.Name {
				s.addWeek(ctx, h, w, f.Now)
			}
		}
	}
}

// addWeek adds the hours of the week in which annotations have a workload up.
func (s *Scaler) addWeek(ctx context.Context, h *view.Hours, w *view.Workload, now time.Time) {
	var layers []map[string]string
	for _, o := range []client.Object{&v1alpha1.App{}, &appsv1.Deployment{}, &kedav1alpha1.ScaledObject{}} {
		name := w.Workload.Name
		if _, ok := o.(*kedav1alpha1.ScaledObject); ok {
			name = w.Name
		}
		if err := s.client.Get(ctx, client.ObjectKey{Namespace: w.Namespace, Name: name}, o); err == nil {
			layers = append(layers, o.GetAnnotations())
		}
	}
	space := &corev1.Namespace{}
	if err := s.client.Get(ctx, client.ObjectKey{Name: w.Namespace}, space); err == nil {
		layers = append([]map[string]string{space.Annotations}, layers...)
	}
	set, err := hours.ParseSettings(layers...)
	if err == nil && (set.Uptime != nil || set.Downtime != nil) {
		h.Zone, h.Up = weekOf(&set, now)
	}
}

// quarter is how finely a week is drawn.
const quarter = 15 * time.Minute

// weekOf are the quarters of an hour of the week in which settings have a workload up.
func weekOf(set *hours.Settings, now time.Time) (string, []view.Period) {
	text := ""
	for _, spec := range []*hours.Spec{set.Downtime, set.Uptime} {
		if spec != nil {
			text, _, _ = strings.Cut(spec.String(), ",")
		}
	}
	zone := time.UTC
	if fields := strings.Fields(text); len(fields) > 0 {
		if z, err := time.LoadLocation(fields[len(fields)-1]); err == nil {
			zone = z
		}
	}
	var out []view.Period
	now = now.In(zone)
	for d := range 7 {
		date := now.AddDate(0, 0, d-int(now.Weekday()))
		for at := time.Duration(0); at < 24*time.Hour; at += quarter {
			t := time.Date(date.Year(), date.Month(), date.Day(), 0, int(at.Minutes()), 0, 0, zone)
			if set.Uptime != nil && !set.Uptime.Contains(t) || set.Downtime != nil && set.Downtime.Contains(t) {
				continue
			}
			if n := len(out) - 1; n >= 0 && out[n].Day == date.Weekday() && out[n].To == at {
				out[n].To += quarter
				continue
			}
			out = append(out, view.Period{Day: date.Weekday(), From: at, To: at + quarter})
		}
	}
	return zone.String(), out
}

// adviceFor is how long an advice is shown before it is worked out again: it looks at an hour.
const adviceFor = 30 * time.Second

// advices are what was worked out lately.
type advices struct {
	mu  sync.Mutex
	all map[signal.Workload]advised
}

type advised struct {
	at time.Time
	*view.Advice
}

// advice is what the last hour of a workload says about what it reserves; nil where nothing is known.
func (s *Scaler) advice(w signal.Workload, now time.Time) *view.Advice {
	s.advices.mu.Lock()
	defer s.advices.mu.Unlock()
	if have, ok := s.advices.all[w]; ok && now.Sub(have.at) < adviceFor {
		return have.Advice
	}
	if s.advices.all == nil || len(s.advices.all) > mostAdvices {
		s.advices.all = map[signal.Workload]advised{}
	}
	out := advised{at: now, Advice: adviceOf(s.signals.History(w, now.Add(-time.Hour)), w)}
	s.advices.all[w] = out
	return out.Advice
}

// mostAdvices bounds what is remembered of workloads that are gone.
const mostAdvices = 4096

// leastKnown is how much must be known of a workload before anything is said.
const leastKnown = time.Minute

func adviceOf(past []signal.Facts, w signal.Workload) *view.Advice {
	advisor := advise.New(0)
	for i := range past {
		advisor.Add(w, &past[i])
	}
	for _, a := range advisor.Advice() {
		if a.Seconds < leastKnown.Seconds() {
			continue
		}
		out := &view.Advice{Since: a.From, Target: a.Target, Enough: a.Enough,
			CPU:    view.Used{Reserved: a.CPU.Reserved, Mean: a.CPU.Used, Peak: a.CPU.Peak},
			Memory: view.Used{Reserved: a.Memory.Reserved, Mean: a.Memory.Used, Peak: a.Memory.Peak}}
		out.Text = out.Sentence(a.To)
		return out
	}
	return nil
}
