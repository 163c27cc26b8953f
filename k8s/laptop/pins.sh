# shellcheck shell=bash disable=SC2034
# The versions that kind-up and minikube-up require. Both scripts source this file.

KIND=v0.33.0
# A node image belongs to one release of kind. Change both together; the release notes name the image.
KIND_NODE=kindest/node:v1.34.11@sha256:44e222ee2132dab25ff87301682f89eb82c7880ea3a1bf543bfe9708fd08d67d
MINIKUBE=v1.37.0
MINIKUBE_KUBERNETES=v1.34.0
KFP=2.17.0
