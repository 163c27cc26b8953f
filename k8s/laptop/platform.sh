# shellcheck shell=bash
# The shared part of kind-up and minikube-up, which source it after `set -euo pipefail`. Every step can be repeated; it keeps what
# exists.

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
IMAGES=(records train convert ops tensorboard)
TAG=$(sed -n 's/^appVersion: "\(.*\)"/\1/p' "$ROOT/charts/boxcar/Chart.yaml")
# Kubeflow starts its runs in this namespace, and Boxcar's Jobs must be in the same namespace as their run.
NAMESPACE=kubeflow

say() { echo "$(basename "$0"): $*" >&2; }

need() { # PROGRAM...
  local program
  for program; do
    command -v "$program" >/dev/null || { say "$program is not installed. Install it, then run this again."; exit 69; }
  done
}

need_version() { # PROGRAM VERSION FOUND
  [ "$2" = "$3" ] || { say "This script needs $1 $2, but $3 is installed. Install $2, or change k8s/laptop/pins.sh."; exit 69; }
}

only_this_cluster() { # CONTEXT: makes all later commands use this cluster, regardless of kubectl's current context
  local file
  file=$(mktemp)
  kubectl config view --minify --flatten --context "$1" >"$file"
  export KUBECONFIG=$file
  trap end EXIT
}

end() { # after a failure: save pods, events, and logs
  local code=$?
  [ $code = 0 ] || "$ROOT/k8s/laptop/dump" "$ROOT/runs/cluster-dump" "$NAMESPACE" kube-system || true
  rm -f "$KUBECONFIG"
  exit $code
}

build_images() { # see images/README.md
  local name
  for name in "${IMAGES[@]}"; do
    say "building docker.io/boxcar/$name:$TAG"
    docker build --quiet --tag "docker.io/boxcar/$name:$TAG" --file "$ROOT/images/Dockerfile" --target "$name" \
      --build-arg VERSION="$TAG" --build-arg REVISION="$(git -C "$ROOT" rev-parse HEAD)" "$ROOT" >/dev/null
  done
}

pretend_gpu() { # NODE: add the taint of a GPU pool, and one simulated GPU
  kubectl taint node "$1" nvidia.com/gpu=present:NoSchedule --overwrite >/dev/null
  kubectl patch node "$1" --subresource=status --type=merge \
    --patch '{"status": {"capacity": {"nvidia.com/gpu": "1"}, "allocatable": {"nvidia.com/gpu": "1"}}}' >/dev/null
}

install_kfp() {
  local manifests=github.com/kubeflow/pipelines/manifests/kustomize
  say "installing Kubeflow Pipelines $KFP"
  kubectl apply --kustomize "$manifests/cluster-scoped-resources?ref=$KFP" >/dev/null
  kubectl wait crd --all --for=condition=established --timeout=2m >/dev/null
  kubectl apply --kustomize "$manifests/env/platform-agnostic?ref=$KFP" >/dev/null
  kubectl --namespace "$NAMESPACE" wait deployment --all --for=condition=available --timeout=20m >/dev/null
}

install_boxcar() { # [OPTION...]: of helm upgrade
  say "installing charts/boxcar into namespace $NAMESPACE"
  kubectl get namespace "$NAMESPACE" >/dev/null 2>&1 || kubectl create namespace "$NAMESPACE" >/dev/null
  if ! kubectl --namespace "$NAMESPACE" get secret boxcar-bucket >/dev/null 2>&1; then
    kubectl --namespace "$NAMESPACE" create secret generic boxcar-bucket --from-literal=AWS_ACCESS_KEY_ID=boxcar \
      --from-literal=AWS_SECRET_ACCESS_KEY="$(head -c 24 /dev/urandom | base64 | tr -d '/+')" >/dev/null
  fi
  helm upgrade --install boxcar "$ROOT/charts/boxcar" --namespace "$NAMESPACE" --wait --timeout 10m \
    --values "$ROOT/charts/boxcar/ci/minio-on-laptop-values.yaml" "$@" >/dev/null
  helm test boxcar --namespace "$NAMESPACE" --timeout 5m >/dev/null
}

say_what_next() { # CONTEXT
  cat <<NEXT
Kubeflow Pipelines and Boxcar are ready.

  Pipelines    kubectl --context $1 --namespace $NAMESPACE port-forward service/ml-pipeline-ui 8080:80, then http://localhost:8080
  TensorBoard  kubectl --context $1 --namespace $NAMESPACE port-forward service/boxcar-tensorboard 6006:80, then http://localhost:6006
  Train        see docs/how-to/train-on-a-cluster.md
NEXT
}
