/* GNU oSIP: decodes every header it knows while it parses. */
#include <osipparser2/osip_parser.h>

#include "peer.h"

static bool complete(const osip_message_t *sip)
{
    return (MSG_IS_RESPONSE(sip) || sip->req_uri) && osip_list_size(&sip->vias) > 0 && sip->from && sip->from->url
        && sip->to && sip->to->url && sip->call_id && sip->cseq && sip->cseq->number;
}

static bool parse(const char *bytes, size_t length)
{
    osip_message_t *sip;
    if (osip_message_init(&sip) != 0)
        return false;
    bool parsed = osip_message_parse(sip, bytes, length) == 0 && complete(sip);
    osip_message_free(sip);
    return parsed;
}

int main(int argc, char **argv)
{
    static const struct parser parsers[] = {{"osip2", parse}, {NULL, NULL}};
    parser_init();
    return peer_main(parsers, argc, argv);
}
