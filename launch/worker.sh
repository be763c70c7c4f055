#!/usr/bin/env bash
# Train on this machine, which may be one host of several.
#   launch/worker.sh exec PRESET ARGUMENTS...    train in the foreground
#   launch/worker.sh start PRESET ARGUMENTS...   train in the background, replacing a training that runs
#   launch/worker.sh ensure PRESET ARGUMENTS...  the same, unless exactly this training runs already
#   launch/worker.sh follow                      show the log until the end; exit with the training's code
#   launch/worker.sh stop                        ask it to save and exit
#   launch/worker.sh status
# PRESET is a file of launch/flags. ARGUMENTS are those of `python -m stylegan_jax.main`. Its exit code is passed on,
# except that a run that was asked to stop and has saved exits with 143: schedulers would treat 0 as a finished run and not
# resume it. All commands but exec need Linux (flock, setsid).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
job="${STYLEGAN_JAX_JOB:-$HOME/.stylegan_jax}"
stopped=143 lost=137

train() {
  local preset="launch/flags/$1.sh" python="${PYTHON:-python3}" child="" code=0 asked=""
  shift
  if [ ! -f "$preset" ]; then
    echo "error: $preset does not exist; presets: $(basename -s .sh launch/flags/*.sh | xargs)" >&2
    return 2
  fi
  # shellcheck source=/dev/null
  . "$preset"
  [ -n "${PYTHON:-}${VIRTUAL_ENV:-}" ] || [ ! -x "$HOME/venv/bin/python" ] || python="$HOME/venv/bin/python"
  trap 'asked=TERM; kill -TERM "$child" 2>/dev/null || true' TERM INT
  trap 'asked=USR1; kill -USR1 "$child" 2>/dev/null || true' USR1
  "$python" -m stylegan_jax.main "$@" &
  child=$!
  [ -z "$asked" ] || kill -"$asked" "$child" 2>/dev/null || true # a signal came before the child existed
  wait "$child" || code=$?
  while kill -0 "$child" 2>/dev/null; do # a signal ends `wait` before the training has ended
    code=0
    wait "$child" || code=$?
  done
  if [ -n "$asked" ] && [ "$code" -eq 0 ]; then code=$stopped; fi
  return "$code"
}

start() {
  mkdir -p "$job"
  stop
  exec 9>"$job/lock"
  flock --nonblock 9
  rm -f "$job/code"
  printf '%s\0' "$@" >"$job/arguments"
  setsid nohup bash launch/worker.sh background "$@" >"$job/log" 2>&1 </dev/null &
  echo $! >"$job/pid"
  echo "$(hostname): started"
}

running() { [ -e "$job/lock" ] && ! flock --nonblock "$job/lock" true; }

stop() {
  running || return 0
  local pid
  pid="$(cat "$job/pid")"
  kill -TERM "$pid" 2>/dev/null || true
  local end=$((SECONDS + ${STYLEGAN_JAX_GRACE:-120}))
  while [ "$SECONDS" -lt "$end" ]; do
    running || return 0
    sleep 0.2
  done
  kill -KILL -- "-$pid" 2>/dev/null || true
  flock "$job/lock" true
}

case "${1:-}" in
  exec)
    shift
    train "$@"
    ;;
  background) # started by `start`; the lock is inherited with file descriptor 9
    shift
    code=0
    train "$@" || code=$?
    echo "$code" >"$job/code"
    ;;
  start)
    shift
    start "$@"
    ;;
  ensure)
    shift
    if running && printf '%s\0' "$@" | cmp -s - "$job/arguments"; then
      echo "$(hostname): runs already"
    else
      start "$@"
    fi
    ;;
  follow)
    if [ ! -e "$job/pid" ]; then
      echo "error: nothing was started on $(hostname); use: launch/worker.sh start PRESET ARGUMENTS" >&2
      exit 3
    fi
    tail -n "${STYLEGAN_JAX_LINES:-20}" -s 0.5 -f --pid="$(cat "$job/pid")" "$job/log"
    flock "$job/lock" true
    exit "$(cat "$job/code" 2>/dev/null || echo "$lost")"
    ;;
  stop)
    stop
    echo "$(hostname): nothing runs"
    ;;
  status)
    if running; then
      echo "$(hostname): running; $(tail -n 1 "$job/log" | tr '\r' '\n' | tail -n 1)"
    elif [ -e "$job/code" ]; then
      echo "$(hostname): ended with exit code $(cat "$job/code")"
    else
      echo "$(hostname): nothing runs"
    fi
    ;;
  *)
    echo "error: '${1:-}' is not a command of launch/worker.sh; commands: exec start ensure follow stop status" >&2
    exit 2
    ;;
esac
