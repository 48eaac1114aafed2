-- Weights of replicas by the speed of their nodes (deployments/ingress/speed.py): HAProxy counts what each replica has
-- under way, and sends the next request where that is least for its weight.
local EVERY_MS = 5000
local MOST = 256 -- HAProxy's largest weight, which servers have from the start (deployments/ingress/haproxy.py)
local LEAST = 32
local ALIKE = 0.8 -- nodes whose speeds differ by less count as equal: a measurement is no better

local function node_of(server)
  return server:get_addr():match("^(.*):%d+$")
end

local function speed_of(server)
  local client = core.httpclient()
  local answer = client:get{ url = "http://" .. server:get_addr() .. "/-/speed", timeout = 2000 }
  return answer.status == 200 and tonumber(answer.body) or nil
end

-- A node is as fast as its fastest replica: others were measured while something else ran.
local function speeds_of_nodes(backend)
  local speeds, fastest = {}, 0
  for name, server in pairs(backend.servers) do
    local speed = name:find("^SERVE_REPLICA") and speed_of(server)
    if speed and speed > 0 then
      local node = node_of(server)
      speeds[node] = math.max(speeds[node] or 0, speed)
      fastest = math.max(fastest, speed)
    end
  end
  return speeds, fastest
end

local function weigh()
  local weights = {}
  for name, backend in pairs(core.backends) do
    if name:find("^http%-") then
      local speeds, fastest = speeds_of_nodes(backend)
      for replica, server in pairs(fastest > 0 and backend.servers or {}) do
        local share = (speeds[node_of(server)] or fastest) / fastest
        weights[replica] = share >= ALIKE and MOST or math.max(LEAST, math.floor(MOST * share + 0.5))
      end
    end
  end
  for _, backend in pairs(core.backends) do -- those of gRPC too, where a replica has the same name
    for replica, server in pairs(backend.servers) do
      if weights[replica] then
        server:set_weight(tostring(weights[replica]))
      end
    end
  end
end

core.register_task(function()
  while true do
    local worked, reason = pcall(weigh)
    if not worked then
      core.Warning("weights stay as they are: " .. tostring(reason))
    end
    core.msleep(EVERY_MS)
  end
end)
