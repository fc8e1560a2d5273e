package portal

import "github.com/escale-dev/escale/internal/web"

// The states.
var (
	Ready      = web.OK("Ready")
	Running    = web.OK("Running")
	Accepted   = web.OK("Accepted")
	Scheduled  = web.OK("Scheduled")
	Waiting    = web.Busy("Waiting")
	Starting   = web.Busy("Starting")
	RollingOut = web.Busy("Rolling out")
	Stopping   = web.Busy("Stopping")
	Degraded   = web.Warn("Degraded")
	Failing    = web.Bad("Failing")
	Crashing   = web.Bad("Crashing")
	NoImage    = web.Bad("No image")
	NoNode     = web.Bad("No node")
	NotReady   = web.Bad("Not ready")
	Refused    = web.Bad("Refused")
	Failed     = web.Bad("Failed")
	Stopped    = web.Off("Stopped")
	Suspended  = web.Off("Suspended")
	Completed  = web.Off("Completed")
	Cordoned   = web.Warn("Cordoned")
	Earlier    = web.Off("Earlier")
)
