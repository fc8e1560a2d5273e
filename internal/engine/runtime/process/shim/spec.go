package shim

// Name is the argument zero that makes a binary act as the shim.
const Name = "escale-init"

// What the shim answers, one byte each; StatusError is followed by the text of the error until end of file.
const (
	// StatusTerminal carries the controlling side of the terminal as a file descriptor.
	StatusTerminal = 'T'
	// StatusReady says that everything is set up and the program is about to be executed.
	StatusReady = 'R'
	// StatusError says that the program was not executed.
	StatusError = 'E'
)

// Spec is all the shim is told about the process to become.
type Spec struct {
	// Namespaces is how many descriptors from 4 on are namespaces to join. A mount namespace comes last.
	Namespaces int
	// Root is the file system to build. Nil: the joined mount namespace has one.
	Root *Root `json:",omitempty"`
	// Cgroups are the files to write "0" to, which moves this process into them.
	Cgroups []string `json:",omitempty"`
	// Args is the program and its arguments.
	Args []string
	// Env is the whole environment, "NAME=value" each.
	Env []string
	// Dir is the working directory; it is created where that is possible.
	Dir string
	// User is who the program runs as. Nil: nobody else than the shim.
	User *User `json:",omitempty"`
	// Capabilities are those the program can have at most, one bit each.
	Capabilities uint64
	// NoNewPrivileges keeps programs from gaining power by being executed.
	NoNewPrivileges bool
	// Terminal gives the program a terminal as its standard streams.
	Terminal bool
	// OOMScoreAdj says how early the kernel kills the program when memory is short, -1000 to 1000.
	OOMScoreAdj int
}

// User is a numeric identity.
type User struct {
	UID    int
	GID    int
	Groups []int `json:",omitempty"`
}

// Root describes the file system of a container.
type Root struct {
	// Staging is an existing folder of the machine over which the root is built, in the container's mount namespace
	// only.
	Staging string
	// Scratch is the folder that holds the container's own "tmp" and "var".
	Scratch string
	// Image is the folder shown read-only at /app. Empty: none.
	Image string
	// OwnNetwork says that the container's network is not the machine's, so /sys shows its own.
	OwnNetwork bool
	// Privileged shows all devices, and hides and protects nothing.
	Privileged bool
	// ReadOnly makes all but mounts and /dev read-only.
	ReadOnly bool
	// Cgroups maps a name below /sys/fs/cgroup to the folder shown there; the name is empty with cgroups version 2.
	Cgroups map[string]string `json:",omitempty"`
	// Mounts are the volumes, in the order in which they are attached.
	Mounts []Mount `json:",omitempty"`
	// Devices are shown besides the usual ones.
	Devices []Mount `json:",omitempty"`
	// Masked paths show nothing, ReadOnlyPaths cannot be written.
	Masked        []string `json:",omitempty"`
	ReadOnlyPaths []string `json:",omitempty"`
}

// Mount shows a file or folder of the machine in the container.
type Mount struct {
	Source      string
	Destination string
	ReadOnly    bool `json:",omitempty"`
	// Optional drops the mount when the destination does not exist and cannot be created.
	Optional bool `json:",omitempty"`
}
