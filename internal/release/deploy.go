package release

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"time"

	"github.com/escale-dev/escale/api/v1alpha1"
	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Builder makes the image of an App called app, "namespace/name", from a source whose path is relative to dir. It
// returns the image by digest, and the command that runs it where the source says.
type Builder interface {
	Build(ctx context.Context, dir string, src v1alpha1.Source, app string) (image string, command []string, err error)
}

// DefaultTimeout is how long Deploy waits for all Apps to serve.
const DefaultTimeout = 5 * time.Minute

// DeployOptions say what to deploy and where.
type DeployOptions struct {
	// File to deploy, from Load or Parse.
	File File
	// Config of the cluster's client.
	Config *rest.Config
	// Namespace of Apps and objects that name none. Default "default". A namespace that is not there is made.
	Namespace string
	// Builder of sources. Without one, an App with a source is refused.
	Builder Builder
	// GatewayURL is the address of the gateway as it is reached from here, such as "http://127.0.0.1:8080". With it, a
	// routed App has to answer through the gateway as well; without, the answer of its pod is enough.
	GatewayURL string
	// Timeout for all Apps to serve. Default DefaultTimeout.
	Timeout time.Duration
	// Progress, when set, is told of every step, from one goroutine at a time.
	Progress func(Event)
}

// Step is what a deployment does with an App.
type Step string

// The steps, in order. An App ends in Serving or Failed.
const (
	StepBuilding Step = "building" // its source
	StepBuilt    Step = "built"    // Event.Image is the image
	StepApplied  Step = "applied"  // the cluster has the new spec
	StepWaiting  Step = "waiting"  // for what Event.Message says
	StepChecking Step = "checking" // its pods are ready; a request is on its way
	StepServing  Step = "serving"  // it has answered, or has nothing to answer
	StepFailed   Step = "failed"   // Event.Message says why
)

// Event is one step of one App. An Event for another object of the file has Kind set and the step StepApplied.
type Event struct {
	Kind            string
	Namespace, Name string
	Step            Step
	// Message is what is waited for, or why it failed.
	Message string
	// Ready and Desired count the pods of the new revision.
	Ready, Desired int32
	// Since is when this step, with this message, began.
	Since time.Time
	// Image, Revision and URL as far as they are known.
	Image, Revision, URL string
}

// Result is what became of one App.
type Result struct {
	Namespace, Name string
	Revision, URL   string
	Ready, Desired  int32
	// Took is the time from the beginning of Deploy, builds included.
	Took time.Duration
	// Answer is the request that the new revision answered, such as "GET /healthz: 200"; empty for an App that has no
	// requests to answer.
	Answer string
	// Reason and Message of the App's state in the end; of its failure where Err is set.
	Reason, Message string
	// Pod that failed, and its last log lines; those of its previous run where it ended.
	Pod string
	Log []string
	// Err is nil where the App serves.
	Err error
}

// ErrNotServing says that Deploy ended before every App served; the Results say why.
var ErrNotServing = errors.New("not every App serves")

// Deploy builds the sources of a file, applies everything in it and waits until every App serves. An App serves when
// its status is Ready for the revision deployed and, where it is asked over HTTP (it has a health path or a route), a
// pod of that revision has answered a request with a status below 500. An App with a port alone may speak any protocol:
// it serves when it accepts connections. Without a port it serves when it runs.
//
// If a source cannot be built or an object not be applied, nothing further is applied, and there are no Results. An App
// that stalls for twenty seconds, or ends twice, is given up before the timeout; the others are still waited for.
func Deploy(ctx context.Context, o DeployOptions) ([]Result, error) {
	o.Namespace = cmp.Or(o.Namespace, "default")
	o.Timeout = cmp.Or(o.Timeout, DefaultTimeout)
	d := deploy{DeployOptions: o, start: time.Now()}
	if err := d.connect(); err != nil {
		return nil, err
	}
	apps, err := d.build(ctx)
	if err != nil {
		return nil, err
	}
	targets, err := d.apply(ctx, apps)
	if err != nil {
		return nil, err
	}
	return d.follow(ctx, targets)
}

// deploy is one run of Deploy.
type deploy struct {
	DeployOptions
	start   time.Time
	client  client.Client
	pods    kubernetes.Interface
	events  serial
	managed bool // the cluster has the kind App, and so a controller for it
}

// target is an App that has been applied.
type target struct {
	key        types.NamespacedName
	app        v1alpha1.App
	revision   string
	generation int64 // of the App, or of its Deployment where the cluster has no Apps
}

func (d *deploy) connect() error {
	scheme, err := newScheme()
	if err != nil {
		return err
	}
	if d.client, err = client.New(d.Config, client.Options{Scheme: scheme}); err != nil {
		return fmt.Errorf("connecting to the cluster: %w", err)
	}
	if d.pods, err = kubernetes.NewForConfig(d.Config); err != nil {
		return fmt.Errorf("connecting to the cluster: %w", err)
	}
	d.events.tell = d.Progress
	_, err = d.client.RESTMapper().RESTMapping(v1alpha1.GroupVersion.WithKind("App").GroupKind(), v1alpha1.GroupVersion.Version)
	if err != nil && !isNoKind(err) {
		return fmt.Errorf("asking the cluster for its kinds: %w", err)
	}
	d.managed = err == nil
	return nil
}

// build gives every App its namespace, and those with a source its image. Sources are built side by side.
func (d *deploy) build(ctx context.Context) ([]v1alpha1.App, error) {
	apps := slices.Clone(d.File.Apps)
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(max(2, runtime.NumCPU()/2))
	for i := range apps {
		app := &apps[i]
		*app = withNamespace(*app.DeepCopy(), RenderOptions{Namespace: d.Namespace})
		if app.Spec.Source == nil {
			continue
		}
		if d.Builder == nil {
			return nil, fmt.Errorf("App %q has a source, and nothing here can build it: set image", app.Name)
		}
		group.Go(func() error { return d.buildOne(ctx, app) })
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	for _, app := range apps {
		if _, err := Render(app, RenderOptions{}); err != nil {
			return nil, err
		}
	}
	return apps, nil
}

func (d *deploy) buildOne(ctx context.Context, app *v1alpha1.App) error {
	d.tell(*app, Event{Step: StepBuilding})
	image, command, err := d.Builder.Build(ctx, d.File.Dir(), *app.Spec.Source, app.Namespace+"/"+app.Name)
	if err != nil {
		d.tell(*app, Event{Step: StepFailed, Message: err.Error()})
		return err
	}
	*app = Built(*app, image, command)
	d.tell(*app, Event{Step: StepBuilt, Image: image})
	return nil
}

// Built is the App with its source replaced by the image built from it, and the command that runs it. What the source
// decided stays decided: the pods run as programs of the machine unless the App says otherwise.
func Built(app v1alpha1.App, image string, command []string) v1alpha1.App {
	app = *app.DeepCopy()
	app.Spec.Runtime = cmp.Or(app.Spec.Runtime, v1alpha1.RuntimeProcess)
	app.Spec.Source = nil
	app.Spec.Image = image
	if len(app.Spec.Command) == 0 {
		app.Spec.Command = command
	}
	return app
}

func (d *deploy) tell(app v1alpha1.App, e Event) {
	e.Namespace, e.Name = app.Namespace, app.Name
	d.events.send(e)
}
