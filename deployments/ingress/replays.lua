-- What a client is told when two replicas ended while they computed its request (deployments/ingress/haproxy.py).
local TWICE = "two replicas ended while they computed this request: it goes to no third"
local TOO_LARGE = "the replica ended while it computed this request, which is too large for the ingress to send again"

local GONE = "the client ended its side of the connection before it was answered"

core.register_action("refuse_replay", { "tcp-res" }, function(txn)
  local reply = txn:reply()
  local message = txn:get_var("txn.ended") == "unknown" and TOO_LARGE or TWICE
  if txn.f:fe_name() == "grpc_frontend" then
    reply:set_status(200)
    reply:add_header("content-type", "application/grpc")
    reply:add_header("grpc-status", "13") -- INTERNAL
    reply:add_header("grpc-message", message)
  elseif txn.f:fc_http_major() == 1 and not txn.req:may_recv() then -- over HTTP/2 each request ends its side
    reply:set_status(400, "Bad Request")
    reply:add_header("content-type", "application/json")
    reply:set_body('{"error":"' .. GONE .. '"}')
  else
    reply:set_status(500, "Internal Server Error")
    reply:add_header("content-type", "application/json")
    reply:set_body('{"error":"' .. message .. '"}')
  end
  txn:done(reply)
end)
