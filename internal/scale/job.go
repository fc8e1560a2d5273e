package scale

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	kedav1alpha1 "github.com/escale-dev/escale/api/keda/v1alpha1"
	"github.com/escale-dev/escale/internal/scale/decision"
	"github.com/escale-dev/escale/internal/timeline"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const (
	// labelScaledJob is KEDA's label on the Jobs of a ScaledJob, annotationGeneration the generation that made them.
	labelScaledJob       = "scaledjob.keda.sh/name"
	annotationGeneration = "scaledjob.keda.sh/generation"
	annotationExcluded   = "scaledjob.keda.sh/job-excluded-labels"

	// defaultHistory is how many Jobs of each kind are kept.
	defaultHistory = 100
	// mostStarts is how many Jobs one decision starts; the next one starts more.
	mostStarts = 100
)

// job is a ScaledJob that starts Jobs.
type job struct {
	scaler  *Scaler
	name    types.NamespacedName
	object  *kedav1alpha1.ScaledJob
	spec    batchv1.JobSpec
	base    *decision.JobSettings
	sources []*source
	notes   []string

	mu       sync.Mutex
	readings []decision.Reading
	snaps    []snapshot
	plan     decision.JobPlan
	decided  bool
	reported bool
	acting   bool
	retryAt  time.Time
	actErr   error
	// lastActive is when there was work; cleared is when finished Jobs were last looked at.
	lastActive, cleared time.Time
	shown               shown
	closed              bool
	// recent are the Jobs that were started and that the cache may not show yet. Only startMissing uses it.
	recent map[string]time.Time
}

func (j *job) feed() []*source { return j.sources }

func (j *job) polling() time.Duration { return polling(j.object.Spec.PollingInterval) }

func (j *job) close() { j.retire(nil) }

func (j *job) retire(kept []*source) {
	j.mu.Lock()
	j.closed = true
	j.mu.Unlock()
	for _, src := range j.sources {
		if !slices.Contains(kept, src) {
			src.close()
		}
	}
}

// shownNow is what the written status says.
func (j *job) shownNow() shown {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.shown
}

// clearEvery is how often finished Jobs beyond the history are looked for.
const clearEvery = 10 * time.Second

// decide looks at the sources; Jobs are counted and started beside the loop, and only when there may be something to do.
func (j *job) decide(now time.Time) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.closed {
		return
	}
	j.readings, j.snaps = j.readings[:0], j.snaps[:0]
	set := *j.base
	for _, src := range j.sources {
		var snap snapshot
		j.readings, snap = src.appendTo(j.readings)
		j.snaps = append(j.snaps, snap)
		set.Metrics = append(set.Metrics, metricsOf(src.config, snap.metrics)...)
	}
	hope := decision.DecideJobs(&set, &decision.JobFacts{Readings: j.readings})
	j.plan.Active, j.plan.Unread = hope.Active, hope.Unread
	j.decided = true
	if hope.Active {
		j.lastActive = now
	}
	sweep := now.Sub(j.cleared) > clearEvery
	if !j.acting && !now.Before(j.retryAt) && (hope.Start > 0 || sweep) {
		j.act(now, set, sweep)
	}
	j.report(now)
}

// act counts the Jobs that run, decides with them, and starts what is missing. The caller holds mu.
func (j *job) act(now time.Time, set decision.JobSettings, sweep bool) {
	j.acting = true
	if sweep {
		j.cleared = now
	}
	f := decision.JobFacts{Readings: slices.Clone(j.readings)}
	j.scaler.task(func(ctx context.Context) {
		ctx, cancel := context.WithTimeout(ctx, actTimeout)
		defer cancel()
		plan, started, err := j.startMissing(ctx, now, set, f, sweep)
		j.mu.Lock()
		j.acting, j.actErr = false, err
		if err != nil {
			j.retryAt = j.scaler.now().Add(retryAct)
		} else {
			// Whether there is work was decided anew meanwhile.
			plan.Active, plan.Unread = j.plan.Active, j.plan.Unread
			j.plan = plan
		}
		j.mu.Unlock()
		if started > 0 {
			j.announce(started, plan, f)
		}
		if err != nil {
			j.scaler.log.Warn("Jobs not started", "scaledJob", j.name.String(), "err", err)
		}
	})
}

func (j *job) startMissing(ctx context.Context, now time.Time, set decision.JobSettings, f decision.JobFacts, sweep bool) (decision.JobPlan, int32, error) {
	var all batchv1.JobList
	err := j.scaler.client.List(ctx, &all, client.InNamespace(j.name.Namespace), client.MatchingLabels{labelScaledJob: j.name.Name})
	if err != nil {
		return decision.JobPlan{}, 0, fmt.Errorf("listing the Jobs of ScaledJob %q: %w", j.name.Name, err)
	}
	if err := j.count(ctx, now, all.Items, set.Grace, &f); err != nil {
		return decision.JobPlan{}, 0, err
	}
	plan := decision.DecideJobs(&set, &f)
	var started int32
	for ; started < min(plan.Start, mostStarts); started++ {
		b := j.make()
		if err := j.scaler.client.Create(ctx, b); err != nil {
			return plan, started, fmt.Errorf("starting a Job of ScaledJob %q: %w", j.name.Name, err)
		}
		j.recent[b.Name] = now
	}
	if sweep {
		err = j.clear(ctx, all.Items)
	}
	return plan, started, err
}

// unseenFor bounds how long a Job that was started counts though the cache does not show it.
const unseenFor = 10 * time.Second

// countUnseen counts the Jobs that were started and that the cache does not show yet.
func (j *job) countUnseen(now time.Time, all []batchv1.Job, f *decision.JobFacts) {
	for i := range all {
		delete(j.recent, all[i].Name)
	}
	maps.DeleteFunc(j.recent, func(_ string, at time.Time) bool { return now.Sub(at) > unseenFor })
	n := int32(len(j.recent))
	f.Running, f.Pending, f.Young = n, n, n
}

// count fills in how many Jobs run, have not begun, and are young.
func (j *job) count(ctx context.Context, now time.Time, all []batchv1.Job, grace time.Duration, f *decision.JobFacts) error {
	j.countUnseen(now, all, f)
	has, err := j.begunJobs(ctx)
	if err != nil {
		return err
	}
	for i := range all {
		if finished(&all[i]) != "" {
			continue
		}
		f.Running++
		if now.Sub(all[i].CreationTimestamp.Time) < grace {
			f.Young++
		}
		if !has[all[i].Name] {
			f.Pending++
		}
	}
	return nil
}

// finished is how a Job ended; empty while it runs.
func finished(b *batchv1.Job) batchv1.JobConditionType {
	for _, c := range b.Status.Conditions {
		if (c.Type == batchv1.JobComplete || c.Type == batchv1.JobFailed) && c.Status == corev1.ConditionTrue {
			return c.Type
		}
	}
	return ""
}

// begunJobs names the Jobs that have a pod that runs, or one with the conditions the object names.
func (j *job) begunJobs(ctx context.Context) (map[string]bool, error) {
	conditions := j.object.Spec.ScalingStrategy.PendingPodConditions
	var pods corev1.PodList
	err := j.scaler.client.List(ctx, &pods, client.InNamespace(j.name.Namespace), client.MatchingLabels{labelScaledJob: j.name.Name},
		client.UnsafeDisableDeepCopy)
	if err != nil {
		return nil, fmt.Errorf("listing the pods of ScaledJob %q: %w", j.name.Name, err)
	}
	out := map[string]bool{}
	for i := range pods.Items {
		if begun(&pods.Items[i], conditions) {
			out[pods.Items[i].Labels[batchv1.JobNameLabel]] = true
		}
	}
	return out, nil
}

func begun(p *corev1.Pod, conditions []string) bool {
	if len(conditions) == 0 {
		return p.Status.Phase == corev1.PodRunning || p.Status.Phase == corev1.PodSucceeded
	}
	for _, want := range conditions {
		if !slices.ContainsFunc(p.Status.Conditions, func(c corev1.PodCondition) bool {
			return string(c.Type) == want && c.Status == corev1.ConditionTrue
		}) {
			return false
		}
	}
	return true
}

// make is one Job, with the labels and annotations KEDA gives.
func (j *job) make() *batchv1.Job {
	labels := map[string]string{
		"app.kubernetes.io/name": j.name.Name, "app.kubernetes.io/part-of": j.name.Name,
		"app.kubernetes.io/managed-by": "escale", labelScaledJob: j.name.Name,
	}
	excluded := strings.Split(j.object.Annotations[annotationExcluded], ",")
	for k, v := range j.object.Labels {
		if !slices.Contains(excluded, k) {
			labels[k] = v
		}
	}
	annotations := map[string]string{annotationGeneration: strconv.FormatInt(j.object.Generation, 10)}
	maps.Copy(annotations, j.object.Annotations)
	delete(annotations, corev1.LastAppliedConfigAnnotation)
	b := &batchv1.Job{
		ObjectMeta: metav1.ObjectMeta{
			GenerateName: j.name.Name + "-", Namespace: j.name.Namespace, Labels: labels, Annotations: annotations,
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(j.object, kedav1alpha1.GroupVersion.WithKind(kindScaledJob))},
		},
		Spec: *j.spec.DeepCopy(),
	}
	metav1.SetMetaDataLabel(&b.Spec.Template.ObjectMeta, labelScaledJob, j.name.Name)
	return b
}

// clear deletes finished Jobs beyond the history, oldest first.
func (j *job) clear(ctx context.Context, all []batchv1.Job) error {
	for how, limit := range map[batchv1.JobConditionType]int32{
		batchv1.JobComplete: orDefault(j.object.Spec.SuccessfulJobsHistoryLimit, defaultHistory),
		batchv1.JobFailed:   orDefault(j.object.Spec.FailedJobsHistoryLimit, defaultHistory),
	} {
		var done []batchv1.Job
		for i := range all {
			if finished(&all[i]) == how {
				done = append(done, all[i])
			}
		}
		slices.SortFunc(done, func(a, b batchv1.Job) int {
			return cmp.Or(ended(&a).Compare(ended(&b)), cmp.Compare(a.Name, b.Name))
		})
		for i := 0; i < len(done)-int(limit); i++ {
			err := j.scaler.client.Delete(ctx, &done[i], client.PropagationPolicy(metav1.DeletePropagationBackground))
			if client.IgnoreNotFound(err) != nil {
				return fmt.Errorf("deleting finished Job %q: %w", done[i].Name, err)
			}
		}
	}
	return nil
}

func ended(b *batchv1.Job) time.Time {
	if b.Status.CompletionTime != nil {
		return b.Status.CompletionTime.Time
	}
	return b.CreationTimestamp.Time
}

func (j *job) announce(started int32, plan decision.JobPlan, f decision.JobFacts) {
	j.scaler.event(regarding(kindScaledJob, j.name, j.object.UID), corev1.EventTypeNormal, "KEDAJobsCreated", "Scale",
		"Created %d jobs: %s", started, plan.Reason)
	j.scaler.timeline.Add(timeline.Record{
		Actor: "scale", Action: "started Jobs",
		Object: timeline.Object{Kind: kindScaledJob, Namespace: j.name.Namespace, Name: j.name.Name},
		From:   fmt.Sprintf("%d Jobs", f.Running), To: fmt.Sprintf("%d Jobs", f.Running+started), Reason: plan.Reason,
	})
}

func (j *job) report(now time.Time) {
	s := shown{active: j.plan.Active, unread: j.plan.Unread, paused: j.base.Paused, activeAt: j.shown.activeAt, metrics: len(j.readings)}
	for i := range j.readings {
		if j.readings[i].Active {
			s.activity |= 1 << (i % 64)
		}
	}
	s.errors = j.errors()
	if s.active && now.Sub(s.activeAt) > showEvery || s.active != j.shown.active {
		s.activeAt = now
	}
	if s == j.shown && j.reported {
		return
	}
	if s.errors != "" && s.errors != j.shown.errors {
		j.scaler.event(regarding(kindScaledJob, j.name, j.object.UID), corev1.EventTypeWarning, "KEDAScalerFailed", "Scale", "%s", s.errors)
	}
	j.shown, j.reported = s, true
	j.scaler.reports.queue.Add(key{kindScaledJob, j.name})
}

func (j *job) errors() string {
	var all []string
	for i, snap := range j.snaps {
		if snap.err != nil && snap.failures >= borne {
			all = append(all, fmt.Sprintf("trigger %d (%s): %s", i, j.sources[i].config.Type, snap.err))
		}
	}
	if j.actErr != nil {
		all = append(all, j.actErr.Error())
	}
	return strings.Join(all, "; ")
}

// status is the whole status.
func (j *job) status(before kedav1alpha1.ScaledJobStatus) kedav1alpha1.ScaledJobStatus {
	j.mu.Lock()
	defer j.mu.Unlock()
	st := *before.DeepCopy()
	st.TriggersTypes, st.AuthenticationsTypes = namesOf(j.object.Spec.Triggers)
	if !j.decided {
		return st
	}
	st.ExternalMetricNames, st.TriggersActivity = nil, map[string]kedav1alpha1.TriggerActivityStatus{}
	n := 0
	for i, src := range j.sources {
		for _, m := range metricsOf(src.config, j.snaps[i].metrics) {
			st.ExternalMetricNames = append(st.ExternalMetricNames, m.Name)
			st.TriggersActivity[m.Name] = kedav1alpha1.TriggerActivityStatus{IsActive: n < len(j.readings) && j.readings[n].Active}
			n++
		}
	}
	if !j.lastActive.IsZero() {
		st.LastActiveTime = &metav1.Time{Time: j.lastActive.Truncate(time.Second)}
	}
	ready := condition(kedav1alpha1.ConditionReady, j.shown.errors == "", "ScaledJobReady", reasonTriggerError,
		"Jobs are started by the triggers", j.shown.errors)
	if len(j.notes) > 0 && j.shown.errors == "" {
		ready.Message += "; without effect: " + strings.Join(j.notes, "; ")
	}
	if j.shown.errors != "" && j.plan.Active {
		ready.Status, ready.Reason = metav1.ConditionUnknown, reasonPartialError
	}
	for _, c := range []kedav1alpha1.Condition{
		ready,
		condition(kedav1alpha1.ConditionActive, j.plan.Active, reasonActive, reasonNotActive, "a trigger sees work", "no trigger sees work"),
		condition(kedav1alpha1.ConditionPaused, j.base.Paused, "ScaledJobPaused", "ScaledJobUnpaused",
			fmt.Sprintf("annotation %q starts no Jobs; remove it to scale again", kedav1alpha1.AnnotationPaused), "no annotation pauses it"),
	} {
		st.Conditions.Set(c)
	}
	st.Paused = strconv.FormatBool(j.base.Paused)
	return st
}

func (s *Scaler) patchJob(ctx context.Context, j *job) error {
	var have kedav1alpha1.ScaledJob
	if err := s.live.Get(ctx, j.name, &have); err != nil {
		return client.IgnoreNotFound(err)
	}
	if have.UID != j.object.UID {
		return nil
	}
	return s.patchJobStatus(ctx, &have, j.status(have.Status))
}

// specOf reads the template of a ScaledJob. What has another form than a Job's spec is refused, with the place.
func specOf(raw *runtime.RawExtension) (batchv1.JobSpec, error) {
	var spec batchv1.JobSpec
	if raw == nil || len(raw.Raw) == 0 {
		return spec, fmt.Errorf("the object has no jobTargetRef; write the spec of the Job there")
	}
	if err := json.Unmarshal(raw.Raw, &spec); err != nil {
		return spec, fmt.Errorf("reading jobTargetRef: %w", err)
	}
	if len(spec.Template.Spec.Containers) == 0 {
		return spec, fmt.Errorf("jobTargetRef.template.spec has no containers")
	}
	if spec.Template.Spec.RestartPolicy == "" {
		spec.Template.Spec.RestartPolicy = corev1.RestartPolicyOnFailure
	}
	return spec, nil
}
