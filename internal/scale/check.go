package scale

import (
	"fmt"
	"slices"

	kedav1alpha1 "github.com/escale-dev/escale/api/keda/v1alpha1"
	"github.com/escale-dev/escale/api/v1alpha1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// refusal is why an object is not scaled: the checks of KEDA's admission webhook, and what only a running cluster shows.
type refusal struct{ reason, message string }

// circumstances are what the checks of a ScaledObject look at beside the object.
type circumstances struct {
	target target
	// others are the other ScaledObjects of the namespace with a target of this name, hpas the same of HPAs.
	others []kedav1alpha1.ScaledObject
	hpas   []autoscalingv2.HorizontalPodAutoscaler
	// app is the App that made the target; nil: somebody else did.
	app *v1alpha1.App
	// template is the pod of a Deployment or StatefulSet; nil for other kinds.
	template *corev1.PodSpec
	// ranges are the namespace's.
	ranges []corev1.LimitRange
}

// check says why an object may not be scaled; nil if it may.
func check(o *kedav1alpha1.ScaledObject, c circumstances) *refusal {
	for _, f := range []func(*kedav1alpha1.ScaledObject, circumstances) string{
		checkBounds, checkName, checkFallback, func(o *kedav1alpha1.ScaledObject, _ circumstances) string { return checkTriggers(o.Spec.Triggers) },
		checkRequests, checkZero,
	} {
		if message := f(o, c); message != "" {
			return &refusal{reasonCheckFailed, message}
		}
	}
	if message := checkConflicts(o, c); message != "" {
		return &refusal{reasonConflict, message}
	}
	return nil
}

func checkBounds(o *kedav1alpha1.ScaledObject, _ circumstances) string {
	low, high := orDefault(o.Spec.MinReplicaCount, 0), orDefault(o.Spec.MaxReplicaCount, 100)
	if low > high {
		return fmt.Sprintf("minReplicaCount %d is above maxReplicaCount %d; lower one or raise the other", low, high)
	}
	if o.Spec.MinReplicaCount != nil {
		low = max(low, 1)
	}
	if idle := o.Spec.IdleReplicaCount; idle != nil && *idle >= low {
		return fmt.Sprintf("idleReplicaCount %d is not below minReplicaCount %d; lower it or leave it out", *idle, low)
	}
	return ""
}

// maxLabel is the most characters of a label's value, which KEDA makes of the name.
const maxLabel = 63

func checkName(o *kedav1alpha1.ScaledObject, _ circumstances) string {
	if len(o.Name) > maxLabel {
		return fmt.Sprintf("the name has %d characters; KEDA takes at most %d", len(o.Name), maxLabel)
	}
	return ""
}

func checkFallback(o *kedav1alpha1.ScaledObject, _ circumstances) string {
	fb := o.Spec.Fallback
	if fb == nil {
		return ""
	}
	if fb.Behavior == kedav1alpha1.FallbackScalingModifiers && !usesFormula(&o.Spec) {
		return "fallback.behavior is \"scalingModifiers\" without advanced.scalingModifiers.formula; write a formula or use \"static\""
	}
	onlyResources := !slices.ContainsFunc(o.Spec.Triggers, func(t kedav1alpha1.ScaleTriggers) bool { return !resource(t.Type) })
	if onlyResources && !usesFormula(&o.Spec) {
		return "a fallback stands in for triggers other than cpu and memory, and there is none; remove the fallback"
	}
	return ""
}

// checkTriggers are the checks that ScaledObjects and ScaledJobs share.
func checkTriggers(triggers []kedav1alpha1.ScaleTriggers) string {
	names := map[string]bool{}
	for i, t := range triggers {
		if t.UseCachedMetrics && (resource(t.Type) || t.Type == "cron") {
			return fmt.Sprintf("trigger %d (%s): useCachedMetrics is not for this type; remove it", i, t.Type)
		}
		if t.Name != "" && names[t.Name] {
			return fmt.Sprintf("two triggers have the name %q; give each its own", t.Name)
		}
		names[t.Name] = true
	}
	return ""
}

// checkRequests finds containers that reserve nothing of what a utilisation is to be computed of.
func checkRequests(o *kedav1alpha1.ScaledObject, c circumstances) string {
	if c.template == nil {
		return ""
	}
	for _, t := range o.Spec.Triggers {
		if !resource(t.Type) {
			continue
		}
		name := corev1.ResourceName(t.Type)
		only := t.Metadata["containerName"]
		if only == "" && c.template.Resources != nil && reserves(*c.template.Resources, name) || ranged(c.ranges, name) {
			continue
		}
		for _, container := range c.template.Containers {
			if (only == "" || container.Name == only) && !reserves(container.Resources, name) {
				return fmt.Sprintf("trigger %q needs what container %q reserves; set its resources.requests.%s", t.Type, container.Name, t.Type)
			}
		}
	}
	return ""
}

func reserves(r corev1.ResourceRequirements, name corev1.ResourceName) bool {
	request, limit := r.Requests[name], r.Limits[name]
	return request.Sign() > 0 || limit.Sign() > 0
}

func ranged(ranges []corev1.LimitRange, name corev1.ResourceName) bool {
	for _, r := range ranges {
		for _, item := range r.Spec.Limits {
			request, limit := item.DefaultRequest[name], item.Default[name]
			if item.Type == corev1.LimitTypeContainer && (request.Sign() > 0 || limit.Sign() > 0) {
				return true
			}
		}
	}
	return false
}

// checkZero finds objects that would go to zero and that nothing could wake.
func checkZero(o *kedav1alpha1.ScaledObject, _ circumstances) string {
	for _, t := range o.Spec.Triggers {
		if !resource(t.Type) {
			return ""
		}
	}
	if orDefault(o.Spec.MinReplicaCount, 0) == 0 {
		return "cpu and memory cannot wake a workload from zero; set minReplicaCount to 1 or more, or add another trigger"
	}
	return ""
}

// checkConflicts finds another autoscaler of the workload, or an App that stops it. Of two ScaledObjects the older one
// scales.
func checkConflicts(o *kedav1alpha1.ScaledObject, c circumstances) string {
	if c.app != nil && c.app.Spec.Replicas != nil && *c.app.Spec.Replicas == 0 {
		return fmt.Sprintf("App %q stops %s %q with replicas 0; remove replicas from the App to let this object scale it",
			c.app.Name, c.target.gvk.Kind, c.target.name)
	}
	for i := range c.others {
		other := &c.others[i]
		if other.Name != o.Name && other.DeletionTimestamp.IsZero() && sameTarget(other, c.target) && older(other, o) {
			return fmt.Sprintf("ScaledObject %q scales %s %q already; delete one of the two", other.Name, c.target.gvk.Kind, c.target.name)
		}
	}
	for i := range c.hpas {
		hpa := &c.hpas[i]
		ref := hpa.Spec.ScaleTargetRef
		if hpa.Annotations[kedav1alpha1.AnnotationHPAOwnership] == "false" || !refersTo(ref.APIVersion, ref.Kind, ref.Name, c.target) {
			continue
		}
		if madeBy(hpa, o.Name) {
			return fmt.Sprintf("KEDA's HorizontalPodAutoscaler %q scales %s %q; stop KEDA's operator and delete the HPA: Escale scales the workload itself",
				hpa.Name, c.target.gvk.Kind, c.target.name)
		}
		return fmt.Sprintf("HorizontalPodAutoscaler %q scales %s %q already; delete it or this ScaledObject", hpa.Name, c.target.gvk.Kind, c.target.name)
	}
	return ""
}

func madeBy(hpa *autoscalingv2.HorizontalPodAutoscaler, name string) bool {
	return slices.ContainsFunc(hpa.OwnerReferences, func(r metav1.OwnerReference) bool { return r.Kind == kindScaledObject && r.Name == name })
}

func sameTarget(o *kedav1alpha1.ScaledObject, t target) bool {
	if o.Spec.ScaleTargetRef == nil {
		return false
	}
	apiVersion, kind, name := targetOf(o.Spec.ScaleTargetRef)
	return refersTo(apiVersion, kind, name, t)
}

// refersTo compares groups, not versions: one workload is served in several.
func refersTo(apiVersion, kind, name string, t target) bool {
	gv, err := schema.ParseGroupVersion(apiVersion)
	return err == nil && gv.Group == t.gvk.Group && kind == t.gvk.Kind && name == t.name
}

func older(a, b *kedav1alpha1.ScaledObject) bool {
	if !a.CreationTimestamp.Equal(&b.CreationTimestamp) {
		return a.CreationTimestamp.Before(&b.CreationTimestamp)
	}
	return a.Name < b.Name
}

// withoutEffect names what an object asks for and Escale does not do.
func withoutEffect(o *kedav1alpha1.ScaledObject, c circumstances) []string {
	var notes []string
	if c.app != nil && c.app.Spec.Replicas != nil {
		notes = append(notes, fmt.Sprintf("replicas %d of App %q (this object scales its Deployment; remove replicas from the App)",
			*c.app.Spec.Replicas, c.app.Name))
	}
	if hpa := horizontal(&o.Spec); hpa != nil && hpa.Name != "" {
		notes = append(notes, "advanced.horizontalPodAutoscalerConfig.name (no HPA is made)")
	}
	for _, a := range []string{"scaledobject.keda.sh/hpa-excluded-labels", kedav1alpha1.AnnotationTransferOwnership} {
		if _, ok := o.Annotations[a]; ok {
			notes = append(notes, fmt.Sprintf("annotation %q (no HPA is made)", a))
		}
	}
	return notes
}
