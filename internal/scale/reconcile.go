package scale

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	kedav1alpha1 "github.com/escale-dev/escale/api/keda/v1alpha1"
	"github.com/escale-dev/escale/api/v1alpha1"
	"github.com/escale-dev/escale/internal/scale/trigger"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

// finalizer is KEDA's. It is put on objects that give the first number of pods back, and taken off any that is deleted.
const finalizer = "finalizer.keda.sh"

const (
	// lookAgain is when an object is looked at again whose target is not there and is not watched.
	lookAgain = 10 * time.Second
	// readSecretsAgain is how soon a Secret that changed is noticed.
	readSecretsAgain = 2 * time.Minute
)

// objects reconciles ScaledObjects: it finds out what to do, and hands that to the scaler.
type objects struct {
	scaler      *Scaler
	client      client.Client
	credentials credentials
	mapper      meta.RESTMapper
	dialer      *trigger.Dialer
}

// Reconcile implements reconcile.Reconciler.
func (r *objects) Reconcile(ctx context.Context, req reconcile.Request) (reconcile.Result, error) {
	k := key{kindScaledObject, req.NamespacedName}
	var o kedav1alpha1.ScaledObject
	if err := r.client.Get(ctx, req.NamespacedName, &o); err != nil {
		r.scaler.drop(k)
		return reconcile.Result{}, client.IgnoreNotFound(err)
	}
	if !o.DeletionTimestamp.IsZero() {
		r.scaler.drop(k)
		return reconcile.Result{}, r.finish(ctx, &o)
	}
	made, no, err := r.build(ctx, &o)
	if err != nil {
		return reconcile.Result{}, err
	}
	if no != nil {
		r.scaler.drop(k)
		return reconcile.Result{RequeueAfter: lookAgain}, r.refuse(ctx, &o, no)
	}
	if err := r.guard(ctx, &o); err != nil {
		return reconcile.Result{}, err
	}
	r.install(k, made.object)
	return reconcile.Result{RequeueAfter: made.renew}, nil
}

// made is an object that may be scaled.
type made struct {
	object *object
	renew  time.Duration
}

// build finds out how an object is to be scaled, or why it cannot be.
func (r *objects) build(ctx context.Context, o *kedav1alpha1.ScaledObject) (made, *refusal, error) {
	if o.Spec.ScaleTargetRef == nil {
		return made{}, &refusal{reasonCheckFailed, "the object has no scaleTargetRef; name the workload to scale"}, nil
	}
	t, no := r.target(o)
	if no != nil {
		return made{}, no, nil
	}
	seen, err := r.scaler.scaleOf(ctx, t)
	if apierrors.IsNotFound(err) {
		return made{}, &refusal{reasonCheckFailed, fmt.Sprintf("there is no %s %q in namespace %q; create it or mend scaleTargetRef", t.gvk.Kind, t.name, t.namespace)}, nil
	}
	if err != nil {
		return made{}, nil, err
	}
	c, err := r.circumstances(ctx, o, t)
	if err != nil {
		return made{}, nil, err
	}
	if no := check(o, c); no != nil {
		return made{}, no, nil
	}
	base, err := compileSettings(o)
	if err != nil {
		return made{}, &refusal{reasonCheckFailed, err.Error()}, nil
	}
	pod := &podEnv{reader: r.credentials.reader, namespace: o.Namespace, spec: c.template, container: o.Spec.ScaleTargetRef.EnvSourceContainerName}
	in, no := r.sources(ctx, askedSources{
		kind: kindScaledObject, object: client.ObjectKeyFromObject(o), workload: t.workload(), triggers: o.Spec.Triggers,
		formula: usesFormula(&o.Spec), pod: pod,
	})
	if no != nil {
		return made{}, no, nil
	}
	obj := &object{
		scaler: r.scaler, name: client.ObjectKeyFromObject(o), uid: o.UID, target: t, workload: t.workload(), base: base,
		sources: in.sources, every: polling(o.Spec.PollingInterval), wakes: usesRequests(in.sources), fixed: fixed(o, t, seen.replicas, append(withoutEffect(o, c), in.notes...)),
		memory: &memory{asked: seen},
	}
	return made{obj, in.renew}, nil, nil
}

// target finds the resource of an object's workload.
func (r *objects) target(o *kedav1alpha1.ScaledObject) (target, *refusal) {
	apiVersion, kind, name := targetOf(o.Spec.ScaleTargetRef)
	gv, err := schema.ParseGroupVersion(apiVersion)
	if err != nil {
		return target{}, &refusal{reasonCheckFailed, fmt.Sprintf("scaleTargetRef.apiVersion is %q; want GROUP/VERSION", apiVersion)}
	}
	mapping, err := r.mapper.RESTMapping(schema.GroupKind{Group: gv.Group, Kind: kind}, gv.Version)
	if err != nil {
		return target{}, &refusal{reasonCheckFailed, fmt.Sprintf("the API server has no kind %q in %q; install it or mend scaleTargetRef", kind, apiVersion)}
	}
	return target{gvk: mapping.GroupVersionKind, resource: mapping.Resource, namespace: o.Namespace, name: name}, nil
}

// circumstances gathers what the checks look at.
func (r *objects) circumstances(ctx context.Context, o *kedav1alpha1.ScaledObject, t target) (circumstances, error) {
	c := circumstances{target: t}
	var others kedav1alpha1.ScaledObjectList
	var hpas autoscalingv2.HorizontalPodAutoscalerList
	for _, list := range []client.ObjectList{&others, &hpas} {
		err := r.client.List(ctx, list, client.InNamespace(o.Namespace), client.MatchingFields{targetIndex: t.name})
		if err != nil {
			return c, fmt.Errorf("listing autoscalers of %q: %w", t.name, err)
		}
	}
	c.others, c.hpas = others.Items, hpas.Items
	var err error
	if c.template, c.app, err = r.madeOf(ctx, t); err != nil {
		return c, err
	}
	if !slices.ContainsFunc(o.Spec.Triggers, func(tr kedav1alpha1.ScaleTriggers) bool { return resource(tr.Type) }) {
		return c, nil
	}
	var ranges corev1.LimitRangeList
	if err := r.credentials.reader.List(ctx, &ranges, client.InNamespace(o.Namespace)); err != nil {
		return c, fmt.Errorf("listing LimitRanges of namespace %q: %w", o.Namespace, err)
	}
	c.ranges = ranges.Items
	return c, nil
}

// madeOf is the pod of a Deployment or StatefulSet, and the App that made it; nil for other kinds and other makers.
func (r *objects) madeOf(ctx context.Context, t target) (*corev1.PodSpec, *v1alpha1.App, error) {
	if !t.watched() {
		return nil, nil, nil
	}
	name := types.NamespacedName{Namespace: t.namespace, Name: t.name}
	if t.gvk.Kind == "StatefulSet" {
		var s appsv1.StatefulSet
		err := r.client.Get(ctx, name, &s)
		return &s.Spec.Template.Spec, nil, client.IgnoreNotFound(err)
	}
	var d appsv1.Deployment
	if err := r.client.Get(ctx, name, &d); err != nil {
		return &d.Spec.Template.Spec, nil, client.IgnoreNotFound(err)
	}
	app, err := r.maker(ctx, &d)
	return &d.Spec.Template.Spec, app, err
}

func (r *objects) maker(ctx context.Context, d *appsv1.Deployment) (*v1alpha1.App, error) {
	owner := metav1.GetControllerOf(d)
	if owner == nil || owner.Kind != "App" || owner.APIVersion != v1alpha1.GroupVersion.String() {
		return nil, nil
	}
	var app v1alpha1.App
	err := r.client.Get(ctx, types.NamespacedName{Namespace: d.Namespace, Name: owner.Name}, &app)
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading App %q: %w", owner.Name, err)
	}
	return &app, nil
}

// askedSources is what an object's sources are made of.
type askedSources struct {
	kind     string
	object   types.NamespacedName
	workload workload
	triggers []kedav1alpha1.ScaleTriggers
	formula  bool
	pod      *podEnv
}

// madeSources are an object's sources; those that stay are the ones of the object before.
type madeSources struct {
	sources []*source
	notes   []string
	renew   time.Duration
}

// sources makes the sources of an object, or says which trigger cannot be.
func (r *objects) sources(ctx context.Context, a askedSources) (madeSources, *refusal) {
	var out madeSources
	var had []*source
	if sub := r.scaler.subject(key{a.kind, a.object}); sub != nil {
		had = sub.feed()
	}
	for i := range a.triggers {
		c, renew, err := r.config(ctx, a, i)
		if err != nil {
			return out, r.giveUp(out.sources, had, fmt.Errorf("trigger %d (%s): %w", i, a.triggers[i].Type, err))
		}
		if t := a.triggers[i].AuthenticationRef; t != nil && out.renew == 0 {
			out.renew = readSecretsAgain
		}
		if renew > 0 {
			out.renew = renew // each look makes a new token
		}
		judged := trigger.Verdict(c)
		if judged.Err != nil {
			return out, r.giveUp(out.sources, had, judged.Err)
		}
		out.notes = append(out.notes, judged.Notes...)
		if old := unchanged(had, c); old != nil {
			out.sources = append(out.sources, old)
			continue
		}
		src, err := trigger.New(c)
		if err != nil {
			return out, r.giveUp(out.sources, had, err)
		}
		out.sources = append(out.sources, newSource(src, c))
	}
	return out, nil
}

// giveUp closes the sources that are new.
func (r *objects) giveUp(sources, had []*source, err error) *refusal {
	for _, src := range sources {
		if !slices.Contains(had, src) {
			src.close()
		}
	}
	return &refusal{reasonCheckFailed, err.Error()}
}

func unchanged(had []*source, c trigger.Config) *source {
	for _, src := range had {
		if reflect.DeepEqual(src.config, c) {
			return src
		}
	}
	return nil
}

// config is the configuration of one trigger with all its references resolved.
func (r *objects) config(ctx context.Context, a askedSources, i int) (trigger.Config, time.Duration, error) {
	t := &a.triggers[i]
	c := trigger.Config{
		Type: t.Type, Name: t.Name, Index: i, Metadata: t.Metadata, MetricType: t.MetricType, InFormula: a.formula,
		Object: a.object, Workload: a.workload, Signals: r.scaler.signals, Dialer: r.dialer,
	}
	got, err := r.credentials.resolve(ctx, t.AuthenticationRef, a.object.Namespace, a.pod)
	if err != nil {
		return c, 0, err
	}
	c.Auth, c.Identity = got.params, got.identity
	for name := range t.Metadata {
		if strings.HasSuffix(name, "FromEnv") {
			if c.Env, err = a.pod.of(ctx, ""); err != nil {
				return c, 0, err
			}
			break
		}
	}
	return c, got.renew, nil
}

// install hands an object to the scaler. Sources that stay go on as they are.
func (r *objects) install(k key, o *object) {
	fresh := o.sources
	if old, ok := r.scaler.subject(k).(*object); ok {
		fresh = slices.DeleteFunc(slices.Clone(o.sources), func(s *source) bool { return slices.Contains(old.sources, s) })
		if old.uid == o.uid && old.workload == o.workload {
			o.memory = old.memory
		}
		r.scaler.replace(k, old, o, fresh)
	} else {
		r.scaler.put(k, o, fresh)
	}
}

// guard puts the finalizer on an object that gives the first number of pods back, and takes it off others.
func (r *objects) guard(ctx context.Context, o *kedav1alpha1.ScaledObject) error {
	before := o.DeepCopy()
	change := controllerutil.RemoveFinalizer
	if o.Spec.Advanced != nil && o.Spec.Advanced.RestoreToOriginalReplicaCount {
		change = controllerutil.AddFinalizer
	}
	if !change(o, finalizer) {
		return nil
	}
	if err := r.client.Patch(ctx, o, client.MergeFrom(before)); err != nil {
		return fmt.Errorf("writing the finalizer of ScaledObject %q: %w", o.Name, err)
	}
	return nil
}

// finish gives the first number of pods back, where that is asked for, and lets the object go.
func (r *objects) finish(ctx context.Context, o *kedav1alpha1.ScaledObject) error {
	if !controllerutil.ContainsFinalizer(o, finalizer) {
		return nil
	}
	if o.Spec.Advanced != nil && o.Spec.Advanced.RestoreToOriginalReplicaCount && o.Status.OriginalReplicaCount != nil {
		if err := r.restore(ctx, o); err != nil {
			return err
		}
	}
	before := o.DeepCopy()
	controllerutil.RemoveFinalizer(o, finalizer)
	if err := r.client.Patch(ctx, o, client.MergeFrom(before)); err != nil {
		return fmt.Errorf("removing the finalizer of ScaledObject %q: %w", o.Name, client.IgnoreNotFound(err))
	}
	return nil
}

func (r *objects) restore(ctx context.Context, o *kedav1alpha1.ScaledObject) error {
	t, no := r.target(o)
	if no != nil || o.Status.ScaleTargetKind == "" {
		return nil // it never scaled anything
	}
	seen, err := r.scaler.scaleOf(ctx, t)
	if err != nil || seen.replicas == *o.Status.OriginalReplicaCount {
		return ignoreNotFound(err)
	}
	if err := r.scaler.setScale(ctx, t, *o.Status.OriginalReplicaCount); err != nil {
		return ignoreNotFound(err)
	}
	r.scaler.restored(o, t, seen.replicas, *o.Status.OriginalReplicaCount)
	return nil
}

func ignoreNotFound(err error) error {
	var status apierrors.APIStatus
	if errors.As(err, &status) && apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

// refuse says in the object why it is not scaled.
func (r *objects) refuse(ctx context.Context, o *kedav1alpha1.ScaledObject, no *refusal) error {
	want := o.Status.DeepCopy()
	if before := want.Conditions.Get(kedav1alpha1.ConditionReady); before.Message != no.message {
		r.scaler.event(regarding(kindScaledObject, client.ObjectKeyFromObject(o), o.UID), corev1.EventTypeWarning, no.reason, "Check", "%s", no.message)
	}
	want.Conditions.Set(conditionsWithout(no.reason, no.message)[0])
	want.TriggersTypes, want.AuthenticationsTypes = namesOf(o.Spec.Triggers)
	return r.scaler.patchObjectStatus(ctx, o, *want)
}

// fixed is the part of the status that reconciling knows.
func fixed(o *kedav1alpha1.ScaledObject, t target, replicas int32, notes []string) fixedStatus {
	st := *o.Status.DeepCopy()
	st.ScaleTargetKind = t.kind()
	st.ScaleTargetGVKR = &kedav1alpha1.GroupVersionKindResource{
		Group: t.gvk.Group, Version: t.gvk.Version, Kind: t.gvk.Kind, Resource: t.resource.Resource,
	}
	if st.OriginalReplicaCount == nil {
		st.OriginalReplicaCount = new(replicas)
	}
	st.HpaName = ""
	st.TriggersTypes, st.AuthenticationsTypes = namesOf(o.Spec.Triggers)
	f := fixedStatus{status: st, notes: notes}
	if st.LastActiveTime != nil {
		f.lastActive = st.LastActiveTime.Time
	}
	return f
}

// namesOf lists the types of triggers and the names of their authentications, as KEDA's columns show them.
func namesOf(triggers []kedav1alpha1.ScaleTriggers) (kinds, auths *string) {
	var k, a []string
	for _, t := range triggers {
		if !slices.Contains(k, t.Type) {
			k = append(k, t.Type)
		}
		if t.AuthenticationRef != nil && !slices.Contains(a, t.AuthenticationRef.Name) {
			a = append(a, t.AuthenticationRef.Name)
		}
	}
	return new(strings.Join(k, ",")), new(strings.Join(a, ","))
}
