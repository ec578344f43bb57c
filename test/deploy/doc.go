// Package deploy checks what deploy/ has: the Helm chart with Helm itself, the
// alerts and the dashboard with Prometheus's parser, the compose file with
// Compose's. It is a module of its own, so that none of this is among the
// product's dependencies.
package deploy
