// Package private runs the current program again in network and mount namespaces of its own.
//
// That is how a platform runs without privileges, or beside another one: inside, the program may make bridges, veths,
// rules of nftables and mounts, and none of it shows on the machine. Without privileges the namespaces belong to a new
// user namespace in which the user is root, and nobody else exists: the kubelet, mount(8) and nft(8) look at the user
// number as well as at capabilities, so keeping the user's own number with ambient capabilities does not suffice.
// A program inside that wants to become another user cannot.
//
// Sockets belong to the network namespace they were made in. Listeners are therefore opened outside and handed to the
// program inside by file descriptor; they are the only way in. There is no way out: nothing routes to the machine.
//
// There is no process namespace. The program inside dies with the one outside by the parent-death signal, as nodes and
// containers die with their parents, and process numbers mean the same to everyone.
package private
