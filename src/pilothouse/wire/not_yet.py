"""Operations of the public models that this version does not answer yet, each under the reason why.

The set only shrinks: whoever adds an operation takes its name out. A test compares it with the operation table.
"""

from collections.abc import Iterable, Iterator

from pilothouse.wire.models import PUBLIC, service_model

Name = tuple[str, str]
"""(service, operation)."""

_BY_REASON: dict[tuple[str, str], str] = {
    ("ssm", "opscenter: OpsItems and OpsMetadata"): """
        AssociateOpsItemRelatedItem CreateOpsItem CreateOpsMetadata DeleteOpsItem DeleteOpsMetadata
        DescribeOpsItems DisassociateOpsItemRelatedItem GetOpsItem
        GetOpsMetadata GetOpsSummary ListOpsItemEvents ListOpsItemRelatedItems ListOpsMetadata
        StartChangeRequestExecution UpdateOpsItem UpdateOpsMetadata
    """,
    ("kms", "keys: custom key stores"): """
        CreateCustomKeyStore
    """,
    ("sts", "access: users, roles, policies and temporary credentials"): """
        AssumeRoleWithSAML AssumeRoot GetDelegatedAccessToken GetFederationToken GetWebIdentityToken
    """,
    ("iam", "access: users, roles, policies and temporary credentials"): """
        AcceptDelegationRequest AcquireRole AssociateDelegationRequest
        CreateDelegationRequest CreateSAMLProvider CreateServiceLinkedRole
        CreateServiceSpecificCredential
        DeleteSAMLProvider DeleteSSHPublicKey DeleteServerCertificate DeleteServiceLinkedRole
        DeleteServiceSpecificCredential DeleteSigningCertificate
        DisableOrganizationsRootCredentialsManagement DisableOrganizationsRootSessions
        DisableOutboundWebIdentityFederation EnableOrganizationsRootCredentialsManagement
        EnableOrganizationsRootSessions EnableOutboundWebIdentityFederation GenerateCredentialReport
        GenerateOrganizationsAccessReport GenerateServiceLastAccessedDetails GetAccountProperties
        GetCredentialReport
        GetDelegationRequest GetHumanReadableSummary
        GetOrganizationsAccessReport GetOutboundWebIdentityFederationInfo GetRoleTemplateVersion
        GetSAMLProvider GetSSHPublicKey GetServerCertificate GetServiceLastAccessedDetails
        GetServiceLastAccessedDetailsWithEntities GetServiceLinkedRoleDeletionStatus ListDelegationRequests
        ListOrganizationsFeatures ListPoliciesGrantingServiceAccess
        ListSAMLProviderTags ListSAMLProviders ListSSHPublicKeys ListServerCertificateTags
        ListServerCertificates ListServiceSpecificCredentials ListSigningCertificates
        PutAccountProperties RejectDelegationRequest ResetServiceSpecificCredential
        SendDelegationToken SetSecurityTokenServicePreferences
        TagSAMLProvider TagServerCertificate UntagSAMLProvider
        UntagServerCertificate UpdateDelegationRequest UpdateSAMLProvider
        UpdateSSHPublicKey UpdateServerCertificate UpdateServiceSpecificCredential UpdateSigningCertificate
        UploadSSHPublicKey UploadServerCertificate UploadSigningCertificate
    """,
    ("sns", "topics: telephones, e-mail and queues; permissions by label, data protection"): """
        AddPermission CheckIfPhoneNumberIsOptedOut CreatePlatformApplication CreatePlatformEndpoint
        CreateSMSSandboxPhoneNumber DeleteEndpoint DeletePlatformApplication DeleteSMSSandboxPhoneNumber
        GetDataProtectionPolicy GetEndpointAttributes GetPlatformApplicationAttributes GetSMSAttributes
        GetSMSSandboxAccountStatus ListEndpointsByPlatformApplication ListOriginationNumbers
        ListPhoneNumbersOptedOut ListPlatformApplications ListSMSSandboxPhoneNumbers OptInPhoneNumber
        PutDataProtectionPolicy RemovePermission SetEndpointAttributes SetPlatformApplicationAttributes
        SetSMSAttributes VerifySMSSandboxPhoneNumber
    """,
    ("cloudtrail", "trails, event data stores, dashboards: records are in one trail of the installation"): """
        AddTags CancelQuery CreateChannel CreateDashboard CreateEventDataStore CreateTrail
        DeleteChannel DeleteDashboard DeleteEventDataStore DeleteResourcePolicy DeleteTrail
        DeregisterOrganizationDelegatedAdmin DescribeQuery DescribeTrails DisableFederation
        EnableFederation GenerateQuery GetChannel GetDashboard GetEventConfiguration
        GetEventDataStore GetEventSelectors GetImport GetInsightSelectors GetQueryResults
        GetResourcePolicy GetTrail GetTrailStatus ListChannels ListDashboards ListEventDataStores
        ListImportFailures ListImports ListInsightsData ListInsightsMetricData ListPublicKeys
        ListQueries ListTags ListTrails PutEventConfiguration PutEventSelectors PutInsightSelectors
        PutResourcePolicy RegisterOrganizationDelegatedAdmin RemoveTags RestoreEventDataStore
        SearchSampleQueries StartDashboardRefresh StartEventDataStoreIngestion StartImport
        StartLogging StartQuery StopEventDataStoreIngestion StopImport StopLogging UpdateChannel
        UpdateDashboard UpdateEventDataStore UpdateTrail
    """,
    ("logs", "logs: what goes beyond keeping events and reading them"): """
        AssociateKmsKey AssociateSourceToS3TableIntegration CancelExportTask CancelImportTask
        CreateDelivery CreateExportTask CreateImportTask CreateLogAnomalyDetector CreateLookupTable
        CreateScheduledQuery DeleteAccountPolicy DeleteDataProtectionPolicy DeleteDelivery
        DeleteDeliveryDestination DeleteDeliveryDestinationPolicy DeleteDeliverySource DeleteDestination
        DeleteIndexPolicy DeleteIntegration DeleteLogAnomalyDetector DeleteLookupTable
        DeleteMetricFilter DeleteQueryDefinition DeleteResourcePolicy DeleteScheduledQuery
        DeleteSubscriptionFilter DeleteSyslogConfiguration DeleteTransformer DescribeAccountPolicies
        DescribeConfigurationTemplates DescribeDeliveries DescribeDeliveryDestinations
        DescribeDeliverySources DescribeDestinations DescribeExportTasks DescribeFieldIndexes
        DescribeImportTaskBatches DescribeImportTasks DescribeIndexPolicies DescribeLookupTables
        DescribeMetricFilters DescribeQueries DescribeQueryDefinitions DescribeResourcePolicies
        DescribeSubscriptionFilters DisassociateKmsKey DisassociateSourceFromS3TableIntegration
        GetDataProtectionPolicy GetDelivery GetDeliveryDestination GetDeliveryDestinationPolicy
        GetDeliverySource GetIntegration GetLogAnomalyDetector GetLogFields GetLogGroupFields
        GetLogObject GetLogRecord GetLookupTable GetQueryResults GetScheduledQuery
        GetScheduledQueryHistory GetStorageTierPolicy GetTransformer ListAggregateLogGroupSummaries
        ListAnomalies ListIntegrations ListLogAnomalyDetectors ListLogGroups ListLogGroupsForQuery
        ListScheduledQueries ListSourcesForS3TableIntegration ListSyslogConfigurations PutAccountPolicy
        PutBearerTokenAuthentication PutDataProtectionPolicy PutDeliveryDestination
        PutDeliveryDestinationPolicy PutDeliverySource PutDestination PutDestinationPolicy
        PutIndexPolicy PutIntegration PutMetricFilter PutQueryDefinition PutResourcePolicy
        PutStorageTierPolicy PutSubscriptionFilter PutSyslogConfiguration PutTransformer
        StartQuery StopQuery TestMetricFilter TestTransformer UpdateAnomaly UpdateDeliveryConfiguration
        UpdateLogAnomalyDetector UpdateLookupTable UpdateScheduledQuery
    """,
    ("resource-groups", "resource_groups: application groups with tag-sync tasks, and lifecycle events"): """
        CancelTagSyncTask GetTagSyncTask ListGroupingStatuses ListTagSyncTasks StartTagSyncTask
        UpdateAccountSettings
    """,
    ("s3", "objects: versions, locks, keys, analytics, replication, web sites, further settings of buckets"): """
        CreateBucketMetadataConfiguration CreateBucketMetadataTableConfiguration CreateSession
        DeleteBucketAnalyticsConfiguration DeleteBucketCors DeleteBucketEncryption
        DeleteBucketIntelligentTieringConfiguration DeleteBucketInventoryConfiguration
        DeleteBucketMetadataConfiguration DeleteBucketMetadataTableConfiguration
        DeleteBucketMetricsConfiguration DeleteBucketOwnershipControls DeleteBucketReplication
        DeleteBucketWebsite DeleteObjectAnnotation DeletePublicAccessBlock GetBucketAbac
        GetBucketAccelerateConfiguration GetBucketAnalyticsConfiguration GetBucketCors
        GetBucketIntelligentTieringConfiguration GetBucketInventoryConfiguration GetBucketLifecycle
        GetBucketLogging GetBucketMetadataConfiguration GetBucketMetadataTableConfiguration
        GetBucketMetricsConfiguration GetBucketNotification GetBucketNotificationConfiguration
        GetBucketOwnershipControls GetBucketReplication GetBucketRequestPayment GetBucketWebsite
        GetObjectAnnotation GetObjectLegalHold GetObjectLockConfiguration GetObjectRetention
        GetObjectTorrent GetPublicAccessBlock ListBucketAnalyticsConfigurations
        ListBucketIntelligentTieringConfigurations ListBucketInventoryConfigurations
        ListBucketMetricsConfigurations ListDirectoryBuckets ListObjectAnnotations
        PutBucketAbac PutBucketAccelerateConfiguration PutBucketAcl
        PutBucketAnalyticsConfiguration PutBucketCors PutBucketEncryption
        PutBucketIntelligentTieringConfiguration PutBucketInventoryConfiguration PutBucketLifecycle
        PutBucketLogging PutBucketMetricsConfiguration PutBucketNotification
        PutBucketNotificationConfiguration PutBucketOwnershipControls PutBucketReplication
        PutBucketRequestPayment PutBucketVersioning PutBucketWebsite PutObjectAnnotation
        PutObjectLegalHold PutObjectLockConfiguration PutObjectRetention PutPublicAccessBlock
        RenameObject RestoreObject SelectObjectContent
        UpdateBucketMetadataAnnotationTableConfiguration
        UpdateBucketMetadataInventoryTableConfiguration
        UpdateBucketMetadataJournalTableConfiguration UpdateObjectEncryption WriteGetObjectResponse
    """,
}

_ALL_BUT: dict[tuple[str, str], str] = {
    ("ec2", "machines: networks, volumes by themselves, prices and what else a cloud has around its machines"): """
        CopyImage CreateImage CreateReplaceRootVolumeTask CreateSnapshot CreateTags DeleteSnapshot DeleteTags
        DeregisterImage DescribeImages DescribeInstanceStatus DescribeInstances DescribeReplaceRootVolumeTasks
        DescribeSnapshots DescribeTags RebootInstances RunInstances StartInstances StopInstances TerminateInstances
    """,
}
"""Where far more is not there than is: what is answered, under the reason for all the rest. This grows."""


def _listed() -> Iterator[Name]:
    for (service, _), names in _BY_REASON.items():
        yield from ((service, name) for name in names.split())
    for (service, _), names in _ALL_BUT.items():
        yield from ((service, name) for name in service_model(service).public - frozenset(names.split()))


NOT_YET: frozenset[Name] = frozenset(_listed())
"""What is answered with UnknownOperationException and a text that says so."""


def published() -> set[Name]:
    """Every operation of the public models."""
    names: set[Name] = set()
    for service in PUBLIC:
        names.update((service, name) for name in service_model(service).public)
    return names


def missing(operations: Iterable[Name]) -> set[Name]:
    """The published operations that are not among the given ones; the test wants NOT_YET to be just these."""
    return published() - set(operations)
