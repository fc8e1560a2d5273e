package portal

// State is the word for how something is. Its icon and colour follow from its Level.
type State string

// The states.
const (
	Ready      State = "Ready"
	Running    State = "Running"
	Accepted   State = "Accepted"
	Scheduled  State = "Scheduled"
	Waiting    State = "Waiting"
	Starting   State = "Starting"
	RollingOut State = "Rolling out"
	Stopping   State = "Stopping"
	Degraded   State = "Degraded"
	Failing    State = "Failing"
	Crashing   State = "Crashing"
	NoImage    State = "No image"
	NoNode     State = "No node"
	NotReady   State = "Not ready"
	Refused    State = "Refused"
	Failed     State = "Failed"
	Stopped    State = "Stopped"
	Suspended  State = "Suspended"
	Completed  State = "Completed"
	Cordoned   State = "Cordoned"
	Earlier    State = "Earlier"
)

var levels = map[State]string{
	Ready: "ok", Running: "ok", Accepted: "ok", Scheduled: "ok",
	Waiting: "busy", Starting: "busy", RollingOut: "busy", Stopping: "busy",
	Degraded: "warn", Cordoned: "warn",
	Failing: "bad", Crashing: "bad", NoImage: "bad", NoNode: "bad", NotReady: "bad", Refused: "bad", Failed: "bad",
}

// Level is "ok", "busy" while something is on its way, "warn", "bad", or "off" for what rests.
func (s State) Level() string {
	if l, ok := levels[s]; ok {
		return l
	}
	return "off"
}
